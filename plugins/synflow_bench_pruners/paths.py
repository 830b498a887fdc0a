"""A context in which a network adds up its paths: no activation cuts them, no normalization weighs them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = (
    "celu elu gelu hardswish hardtanh leaky_relu mish prelu relu relu6 rrelu selu silu softplus threshold"
)

ACTIVATIONS: frozenset[Any] = frozenset(
    getattr(place, name + end)
    for place in (F, torch, Tensor)
    for name in _NAMES.split()
    for end in ("", "_")
    if hasattr(place, name + end)
)
"""The activations that are zero or flat below zero, in each of their forms."""

OVER_FEATURES: frozenset[Any] = frozenset({F.group_norm, F.instance_norm, F.layer_norm, F.rms_norm})
"""The normalizations by statistics of the example itself."""


class Paths(TorchFunctionMode):
    """A context in which activations pass on what they get, and normalizations only scale and shift.

    Batch norm is left as it is. So are other nonlinear functions, such as the sigmoid of a gate and softmax,
    and what a fused function does inside, such as a recurrent layer.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace activations and normalizations."""
        named = kwargs or {}
        if function in ACTIVATIONS:
            in_place = bool(named.get("inplace")) or function.__name__.endswith("_")
            return self.activate(function, args, named, in_place=in_place)
        if function in OVER_FEATURES:
            return _scale_and_shift(function, args, named)
        return function(*args, **named)

    def activate(
        self,
        function: Callable[..., Tensor],  # noqa: ARG002 - for those that override it
        args: tuple[Any, ...],
        named: Mapping[str, Any],
        *,
        in_place: bool,  # noqa: ARG002 - for those that override it
    ) -> Tensor:
        """Return the input of an activation."""
        return first_of(args, named)


class Recorded(TorchFunctionMode):
    """A context that records in `gates` which entries of each activation's input are above zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gates: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Record the input of an activation, and call the function."""
        named = kwargs or {}
        if function in ACTIVATIONS:
            self.gates.append(first_of(args, named).detach() > 0)
        return function(*args, **named)


class Gated(Paths):
    """A context like `Paths` in which activations let through what the recorded gates let through."""

    def __init__(self, gates: list[Tensor]) -> None:
        super().__init__()
        self._gates = iter(gates)

    def activate(
        self,
        function: Callable[..., Tensor],  # noqa: ARG002 - all have gates
        args: tuple[Any, ...],
        named: Mapping[str, Any],
        *,
        in_place: bool,
    ) -> Tensor:
        """Return the input of an activation where its gate is open, and 0 elsewhere."""
        entered, gate = first_of(args, named), next(self._gates)
        return entered.mul_(gate) if in_place else entered * gate


def first_of(args: tuple[Any, ...], named: Mapping[str, Any]) -> Tensor:
    """Return the input of a call of a function of torch."""
    found: Tensor = args[0] if args else named["input"]
    return found


def _scale_and_shift(
    function: Callable[..., Tensor], args: tuple[Any, ...], named: Mapping[str, Any]
) -> Tensor:
    """Return the input of a normalization times its weights, plus its shifts, without the normalization."""
    given = inspect.signature(function).bind(*args, **named).arguments
    result: Tensor = given["input"]
    trailing = function in {F.layer_norm, F.rms_norm}
    for name in ("weight", "bias"):
        values: Tensor | None = given.get(name)
        if values is not None:
            shaped = values if trailing else values.view(-1, *[1] * (result.dim() - 2))
            result = result * shaped if name == "weight" else result + shaped
    return result
