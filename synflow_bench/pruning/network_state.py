"""The state of a network: its tensors, and what it keeps between calls in other attributes of its modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from synflow_bench.pruning.interface import HALF, cast

NamedModules = Sequence[tuple[str, nn.Module]]
"""The modules of a network by name, as `named_modules` lists them."""

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def named_tensors(modules: NamedModules) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers as they are now, each once and under its first name.

    `Module.named_parameters` walks through all modules every time, which takes longer than a small network's
    forward pass.
    """
    seen: set[int] = set()
    for prefix, module in modules:
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{prefix}.{name}" if prefix else name, tensor


def convert(model: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move a network to a device, and its real and complex numbers to a precision, as `cast` does."""
    # Not by `Module.to`, which makes complex numbers real.
    model._apply(lambda tensor: cast(tensor, device, dtype))  # type: ignore[no-untyped-call]


def write_masked(dense: Tensor, mask: Tensor, out: Tensor) -> None:
    """Write values with zeros in place of masked ones."""
    # torch multiplies by bytes of 0 and 1 twice as fast as by booleans.
    torch.mul(dense.detach(), mask.view(torch.uint8), out=out.detach())


def compute_in(model: nn.Module, dtype: torch.dtype) -> None:
    """Let a network whose tensors have been converted to a precision compute in no lower one.

    What its forward pass makes or converts in a lower precision, such as a first hidden state of zeros or a
    norm in float32, is in this one: other types would not fit together, or would lose what it is for.
    """
    model.forward = partial(_forward, model.forward, dtype)


@contextmanager
def own_forward(model: nn.Module) -> Iterator[None]:
    """Give a network its own forward pass back, which `compute_in` replaces in the block."""
    forward = vars(model).get("forward")
    try:
        yield
    finally:
        vars(model).pop("forward", None)
        if forward is not None:
            model.forward = forward


def _forward(forward: Any, dtype: torch.dtype, *args: Any, **kwargs: Any) -> Any:
    with _Widened(dtype):
        return forward(*args, **kwargs)


class _Widened(TorchFunctionMode):
    """Replaces lower precisions by `dtype`, in arguments and in outputs.

    A function that fails is tried in float32: torch has some, such as grouped matrix products, in no higher
    precision.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._lower = HALF if dtype is torch.float32 else {*HALF, torch.float32}
        self._methods = {getattr(Tensor, name) for name in ("float", "half", "bfloat16")}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute in the higher precision."""
        if function in self._methods:
            return self._widened(function(*args, **kwargs or {}), args[0])
        given = {name: self._type(value) for name, value in (kwargs or {}).items()}
        inputs = tuple(map(self._type, args))
        try:
            found = function(*inputs, **given)
        except RuntimeError as error:
            return self._in_float(function, inputs, given, error)
        if isinstance(found, Tensor):
            return self._widened(found, found)
        return found

    def _in_float(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], error: RuntimeError
    ) -> Any:
        """Return what a failed function computes in float32, or raise its error again."""
        if self._dtype is not torch.float64 or function.__name__.endswith("_"):  # one in place
            raise error
        narrow_args, narrow_kwargs = tree_map(_narrowed, (args, kwargs))
        try:
            found = function(*narrow_args, **narrow_kwargs)
        except RuntimeError:
            raise error from None
        return tree_map(lambda leaf: self._widened(leaf, leaf) if isinstance(leaf, Tensor) else leaf, found)

    def _type(self, value: Any) -> Any:
        return self._dtype if isinstance(value, torch.dtype) and value in self._lower else value

    def _widened(self, found: Tensor, source: Tensor) -> Tensor:
        return source.to(self._dtype) if found.dtype in self._lower else found


def _narrowed(leaf: Any) -> Any:
    return leaf.float() if isinstance(leaf, Tensor) and leaf.dtype is torch.float64 else leaf


def _memory(tensor: Tensor) -> int | None:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else None


class Attributes:
    """The attributes of modules that are neither parameters nor buffers, as they were when this was made.

    A network may keep there what one call leaves for the next, such as a hidden state. Tensors, lists and
    dictionaries are followed, objects of other kinds are not.

    Attributes:
        tensors: The tensors among them that are no part of a parameter or a buffer.
    """

    def __init__(self, modules: NamedModules) -> None:
        self._values = [
            (vars(module), {n: v for n, v in vars(module).items() if n not in _OF_EVERY_MODULE})
            for _, module in modules
        ]
        self._containers: list[tuple[Any, Any]] = []
        found: dict[int, Tensor] = {}
        for _, values in self._values:
            self._follow(values, found, set())
        own = {_memory(tensor) for _, tensor in named_tensors(modules)} | {None}
        self.tensors = [t for t in found.values() if _memory(t) not in own and not t.is_inference()]
        self._copies = [(tensor.detach().clone(), tensor._version) for tensor in self.tensors]

    def _follow(self, value: Any, found: dict[int, Tensor], above: set[int]) -> None:
        if isinstance(value, Tensor):
            found[id(value)] = value
        elif type(value) in {list, dict, tuple} and id(value) not in above:
            if type(value) is not tuple and above:
                self._containers.append((value, value.copy()))
            for each in value.values() if isinstance(value, dict) else value:
                self._follow(each, found, above | {id(value)})

    def restore(self) -> None:
        """Put the attributes back."""
        for attributes, values in self._values:
            for name in attributes.keys() - values.keys() - _OF_EVERY_MODULE:
                del attributes[name]
            attributes.update(values)
        for container, items in self._containers:
            container.clear()
            (container.update if isinstance(container, dict) else container.extend)(items)
        for tensor, (copy, version) in zip(self.tensors, self._copies, strict=True):
            if tensor._version != version or tensor.dtype is not copy.dtype:
                tensor.data = copy.clone()
