"""Run a network once and describe what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synflow_bench.metrics._eval_mode import in_eval_mode
from synflow_bench.metrics.connectivity._call import Call, NotFollowedError, call_of
from synflow_bench.metrics.connectivity._elementwise import UNTAGGED, elementwise, overwrite
from synflow_bench.metrics.connectivity._graph import Connectivity, NotFollowed
from synflow_bench.metrics.connectivity._known import Known
from synflow_bench.metrics.connectivity._layers import LAYERS
from synflow_bench.metrics.connectivity._ledger import Ledger
from synflow_bench.metrics.connectivity._shapes import SHAPES, move

Rule = Callable[[Call], Tensor | Sequence[Tensor]]
"""Gives the units of the (first) output, or of each of several."""


def trace(model: nn.Module, example: Tensor) -> Connectivity | NotFollowed:
    """Describe `model` from one forward pass of `example` (1, ...) in eval mode.

    The units of the input are its channels, dimension 1. Every operation is followed below autograd, so it
    does not matter how the network is written: modules, functions, loops and conditions on shapes. A
    network that does something else with its activations, or that fails, is a `NotFollowed`.
    """
    known, ledger = Known(model), Ledger()
    inputs = ledger.fresh(example.shape[1])
    known.units[example] = inputs.view(1, -1, *[1] * (example.ndim - 2))
    try:
        with torch.no_grad(), in_eval_mode(model), _in_plain_operations(), _Follower(known, ledger):
            output = model(example)
        return ledger.close(inputs, _outputs(known, output))
    except NotFollowedError as error:
        return NotFollowed(f"{type(model).__name__}: cannot follow {error}")
    except Exception as error:  # what a network does is not ours to foresee, and costs it these features only
        reason = " ".join(str(error).split())[:200] or "no reason given"
        return NotFollowed(f"{type(model).__name__}: cannot follow, {type(error).__name__}: {reason}")


def _outputs(known: Known, output: Any) -> Tensor:
    found = [known.units.get(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    units = [ids.flatten() for ids in found if ids is not None]
    if not units or len(units) < len(found):
        raise NotFollowedError("an output that is not computed from the input")
    return torch.cat(units)


_RULES: Mapping[str, Rule] = {**LAYERS, **SHAPES, "copy": overwrite}
_NEW = frozenset(
    [f"{kind}_like" for kind in ("empty", "full", "ones", "rand", "randn", "zeros")]
    + [f"new_{kind}" for kind in ("empty", "full", "ones", "zeros")]
)
"""Operations that ask an activation for its shape alone."""


class _Follower(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps the book while operations run."""

    def __init__(self, known: Known, ledger: Ledger) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known, self._ledger = known, ledger
        self._written: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip the compiler, torch would first load it: 140 MiB and seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if func.overloadpacket.__name__ not in _NEW and any(t in self._known.units for t in tensors):
            self._ledger.opaque |= self._computed_from(t for t in tensors if t not in self._known.units)
            self._follow(func, args, kwargs or {}, output)
        else:
            self._pass_by(func, tensors, output)
        return output

    def _follow(self, func: Any, args: Any, kwargs: Any, output: Any) -> None:
        call = call_of(func, args, kwargs, output, self._known, self._ledger)
        ids = _rule(func, call.name)(call)
        results = output if isinstance(output, list | tuple) else [output]
        for result, found in zip(results, ids if isinstance(ids, list) else [ids], strict=False):
            if _writes(func):
                self._check_written(call, result, found)
            self._known.units[result] = found

    def _pass_by(self, func: Any, tensors: list[Tensor], output: Any) -> None:
        memories = {storage.data_ptr() for storage in self._written}
        if memories and any(tensor.untyped_storage().data_ptr() in memories for tensor in tensors):
            raise NotFollowedError(f"{func} on a tensor that was filled through another one")
        names = frozenset[str]().union(*(self._known.names(tensor) for tensor in tensors))
        for result in tree_leaves(output):
            if isinstance(result, Tensor):
                self._known.note_computed(result, names)

    def _computed_from(self, tensors: Iterable[Tensor]) -> set[str]:
        """What was computed from parameters is used here, and no mask of theirs says what is left of it."""
        return {name for t in tensors if self._known.view(t) is None for name in self._known.names(t)}

    def _check_written(self, call: Call, target: Tensor, ids: Tensor) -> None:
        before = self._known.units.get(target)
        if before is not None and before.shape == ids.shape and torch.equal(before, ids):
            return
        if self._known.shares_memory(target):
            raise NotFollowedError(f"aten.{call.name}_ into a part of a tensor")
        self._written.append(target.untyped_storage())


def _rule(func: Any, name: str) -> Rule:
    if name in _RULES:
        return _RULES[name]
    if _is_view(func):
        return move
    if torch.Tag.pointwise in func.tags or name in UNTAGGED:
        return elementwise
    raise NotFollowedError(f"aten.{name}")


def _is_view(func: Any) -> bool:
    return any(result.alias_info and not result.alias_info.is_write for result in func._schema.returns)


def _writes(func: Any) -> bool:
    return any(result.alias_info and result.alias_info.is_write for result in func._schema.returns)


@contextmanager
def _in_plain_operations() -> Iterator[None]:
    """Let attention run as matrix products, not as one operation that hides them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
