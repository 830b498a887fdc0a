"""The state of a network: its tensors, and what it keeps between calls in other attributes of its modules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from synflow_bench.pruning.interface import cast

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
