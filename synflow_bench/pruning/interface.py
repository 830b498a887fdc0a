"""The calls of a network: inputs of any kind go in as one argument, and logits come out."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from functools import partial
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map

from synflow_bench.errors import ModelError, UsageError, one_line

Inputs = Tensor | Any
"""One input (N, ...), or a tuple or a dictionary of several; tensors have their examples in dimension 0."""

Outputs = str | int | Callable[[Any], Tensor]
"""The logits among the outputs of a network: a name, an index, or a function of the outputs."""

HALF = frozenset(
    {torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e4m3fnuz}
    | {torch.float8_e5m2, torch.float8_e5m2fnuz}
)
"""The types of weights whose scores are taken in float32."""

T = TypeVar("T")


def size_of(inputs: Inputs) -> int:
    """Return the number of examples."""
    return next((len(leaf) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.dim()), 0)


def map_examples(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """Apply `change` to every tensor of `inputs` that has an entry per example; others stay as they are."""
    size = size_of(inputs)

    def changed(leaf: Any) -> Any:
        batched = isinstance(leaf, Tensor) and leaf.dim() > 0 and len(leaf) == size
        return change(leaf) if batched else leaf

    mapped: Inputs = tree_map(changed, inputs)
    return mapped


def is_floating(leaf: object) -> bool:
    """Return True for a tensor of floating-point numbers."""
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def cast(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a tensor on a device: real numbers in `dtype`, complex ones of its precision, others as is."""
    if tensor.is_complex():
        return tensor.to(device, dtype.to_complex())
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def to_network(inputs: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """Move tensors to a device and a type, as `cast` does."""
    mapped: Inputs = tree_map(
        lambda leaf: cast(leaf, device, dtype) if isinstance(leaf, Tensor) else leaf, inputs
    )
    return mapped


def widened(inputs: T) -> T:
    """Return inputs of any structure with float32 in place of shorter floating-point types."""
    wide: T = tree_map(
        lambda leaf: leaf.float() if isinstance(leaf, Tensor) and leaf.dtype in HALF else leaf, inputs
    )
    return wide


def connect(model: nn.Module, outputs: Outputs | None = None) -> nn.Module:
    """Make `model` take a tuple or a dictionary of inputs as its one argument, and return logits alone.

    A dictionary is passed by name, or as it is to a network of one argument that has none of the names.

    A network that returns several things in training mode only, such as auxiliary logits, returns the first
    of them.

    Args:
        model: The network, which is changed: hooks are added.
        outputs: The logits among its outputs.
    """
    names, needed = _arguments(model)
    model.register_forward_pre_hook(partial(_unpack, names, needed == 1), with_kwargs=True)
    model.register_forward_hook(partial(_logits_of, outputs))
    return model


def _arguments(model: nn.Module) -> tuple[frozenset[str] | None, int]:
    """Return the names of the arguments of `forward`, None where it takes any, and how many are needed."""
    while isinstance(model, Wrapper):
        model = model.wrapped
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return None, 0
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return None, 0
    needed = sum(
        parameter.default is parameter.empty and parameter.kind in _BY_POSITION for parameter in parameters
    )
    return frozenset(parameter.name for parameter in parameters), needed


_BY_POSITION = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}


def _unpack(
    names: frozenset[str] | None,
    takes_one: bool,
    _module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    if len(args) != 1 or kwargs:
        return None
    (inputs,) = args
    if isinstance(inputs, dict):
        if names is not None and not inputs.keys() <= names:
            if len(inputs) == 1:
                return tuple(inputs.values()), {}
            if takes_one:
                return (inputs,), {}
        return (), inputs
    return (inputs, {}) if isinstance(inputs, tuple) else None


def _logits_of(outputs: Outputs | None, module: nn.Module, _inputs: Any, found: Any) -> Any:
    if outputs is not None:
        return pick(found, outputs)
    if isinstance(found, Tensor) or not module.training:
        return found
    several = hasattr(found, "logits") or (isinstance(found, tuple | list) and len(found))
    return (found.logits if hasattr(found, "logits") else found[0]) if several else found


def pick(found: Any, outputs: Outputs) -> Any:
    """Return the logits among the outputs of a network.

    Raises:
        ModelError: They are not there.
    """
    if isinstance(found, Tensor) and not callable(outputs):
        return found
    try:
        if callable(outputs):
            return outputs(found)
        if isinstance(outputs, str) and not isinstance(found, Mapping):
            return getattr(found, outputs)
        return found[outputs]
    except Exception as error:
        raise ModelError(
            f"outputs={outputs!r} finds no logits in {describe(found)}: {one_line(error)}"
        ) from error


def describe(found: Any) -> str:
    """Say in a few words what a network returned."""
    if isinstance(found, Tensor):
        return f"a {found.dtype} tensor of shape {tuple(found.shape)}"
    if isinstance(found, Mapping):
        return f"a {type(found).__name__} with {', '.join(map(repr, list(found)[:5]))}"
    if isinstance(found, tuple | list):
        return f"a {type(found).__name__} of {len(found)}"
    return "nothing" if found is None else f"a {type(found).__name__}"


_ONE_THREAD = RLock()


@contextmanager
def gradients_enabled() -> Iterator[None]:
    """Compute outside inference mode, with gradients, and without compiling a compiled network.

    One thread at a time does so: others wait, because switches and generators of torch are of the process.
    """
    with ExitStack() as stack:
        stack.enter_context(_ONE_THREAD)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if "torch._dynamo" in sys.modules:  # to load the compiler takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def check_network(model: Any, *, lazy: bool = False) -> None:
    """Check that this is a network that has values.

    Args:
        model: The network.
        lazy: Allow lazy layers, which have values after their first input.

    Raises:
        UsageError: It is no network.
        ModelError: A parameter or a buffer has no values.
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"model is a {type(model).__name__}; pass a torch.nn.Module")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_meta:
            raise ModelError(f"{name!r} is on the meta device and has no values; load the weights first")
        if is_lazy(tensor) and not lazy:
            raise ModelError(f"{name!r} of a lazy layer has no values yet; run the network once first")


def in_eval_mode(model: nn.Module) -> nn.Module:
    """Put a network in eval mode and return it; its own `train` or `eval` may return nothing.

    Raises:
        ModelError: It refuses.
    """
    try:
        model.eval()
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} cannot be put in eval mode: {one_line(error, first_line=True)}"
        ) from error
    return model


def copy_network(model: nn.Module, memo: Mapping[int, Any] | None = None) -> nn.Module:
    """Return a copy of a network, also of one that holds what Python cannot copy.

    Tensors that were computed are copied by value. Attributes that cannot be copied, such as locks, are
    shared with the original. Of a network that is compiled or distributed as a whole, the copy is not, though
    its parameters have the same names.

    Args:
        model: The network.
        memo: What stands in the copy in the place of an object, by the id of the object.

    Raises:
        ModelError: One of its modules or tensors cannot be copied.
    """
    for name in WRAPPED:
        if name in model._modules and _is_wrapper(model):
            return Wrapper(name, copy_network(model._modules[name], memo))  # type: ignore[arg-type]
    copies = dict(memo or {})
    for module in model.modules():
        for leaf in tree_leaves([value for name, value in vars(module).items() if name not in _REGISTERED]):
            if isinstance(leaf, Tensor) and not leaf.is_leaf:
                copies[id(leaf)] = leaf.detach().clone()
        for leaf in tree_leaves([*vars(module).values()]):
            if isinstance(leaf, Tensor) and leaf.layout in _COMPRESSED and id(leaf) not in copies:
                copies[id(leaf)] = _copy_compressed(leaf)
    if any(_makes_itself(type(module)) for module in model.modules()):
        return _copy_parts(model, copies)
    try:
        copied: nn.Module = deepcopy(model, dict(copies))
    except Exception:  # an attribute of any kind may refuse to be copied, with any error
        return _copy_parts(model, copies)
    # A module may give itself as its copy, as one that several networks share.
    return _copy_parts(model, copies) if _parts(model).keys() & _parts(copied).keys() else copied


_COMPRESSED = {torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}


def _copy_compressed(tensor: Tensor) -> Tensor:
    """Return a copy of a sparse tensor of a layout that `deepcopy` refuses."""
    copied = tensor.detach().clone().requires_grad_(tensor.requires_grad)
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def _makes_itself(kind: type[nn.Module]) -> bool:
    """Return True for a class such as a singleton: a copy might be its one instance, and overwrite it."""
    return kind.__new__ is not object.__new__ and not hasattr(kind, "__deepcopy__")


def _parts(model: nn.Module) -> dict[int, str]:
    """Return the names of modules, parameters and buffers by id."""
    found = (*model.named_modules(), *model.named_parameters(), *model.named_buffers())
    return {id(part): name for name, part in found}


WRAPPED = ("_orig_mod", "module")
"""The names under which torch's wrappers hold a network."""


def _is_wrapper(model: nn.Module) -> bool:
    distributed = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    # Not by the class of compiled networks, to import which loads the compiler.
    return isinstance(model, distributed) or type(model).__name__ == "OptimizedModule"


class Wrapper(nn.Module):
    """A network under the name that a wrapper of torch gave it."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()
        self.add_module(name, model)
        self._name = name

    @property
    def wrapped(self) -> nn.Module:
        """The network."""
        return self.get_submodule(self._name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the network."""
        return self.wrapped(*args, **kwargs)


_REGISTERED = ("_parameters", "_buffers", "_modules")


def _copy_parts(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy modules and tensors one by one, and of all other attributes those that can be copied."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    for name, module in modules.items():
        try:
            memo[id(module)] = object.__new__(type(module))  # not by a method of its own
            for tensor in (*module._parameters.values(), *module._buffers.values()):
                if tensor is not None and id(tensor) not in memo:
                    memo[id(tensor)] = deepcopy(tensor) if tensor.is_leaf else tensor.detach().clone()
        except Exception as error:
            place = f"module {name!r}" if name else "the network"
            raise ModelError(
                f"{place} ({type(module).__name__}) cannot be copied: "
                f"{one_line(error, first_line=True)}; pass a network of plain modules"
            ) from error
    for module in modules.values():
        attributes = vars(memo[id(module)])
        for name, value in vars(module).items():
            try:
                attributes[name] = deepcopy(value, memo)
            except Exception:
                attributes[name] = value
    copied: nn.Module = memo[id(model)]
    own = _parts(model)
    for part in own.keys() & _parts(copied).keys():
        raise ModelError(
            f"{own[part]!r} is the same in a copy of the network; pass a network of plain modules"
        )
    return copied
