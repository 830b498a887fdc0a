"""One operation of a traced network, as its rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from synflow_bench.metrics.connectivity._graph import View
from synflow_bench.metrics.connectivity._known import Known
from synflow_bench.metrics.connectivity._ledger import Ledger


class NotFollowedError(Exception):
    """An operation through which units cannot be followed."""


@dataclass(frozen=True)
class Call:
    """An ATen operation with its arguments by name, and the shape of its (first) output.

    `name` is without namespace, overload and the underscore of operations in place.
    """

    name: str
    operation: Any
    arguments: Mapping[str, Any]
    output: Tensor
    known: Known
    ledger: Ledger

    def __getitem__(self, argument: str) -> Any:
        return self.arguments.get(argument)

    def ids(self, tensor: Tensor) -> Tensor:
        """The units of an activation, along every dimension in which they differ."""
        found = self.known.units.get(tensor)
        if found is None:
            raise NotFollowedError(f"aten.{self.name} of an activation that no unit is known of")
        return found

    def is_activation(self, value: Any) -> bool:
        """Whether units of `value` are known."""
        return isinstance(value, Tensor) and value in self.known.units

    def view(self, tensor: Tensor) -> View | None:
        """How a parameter or buffer is seen through `tensor`; None where it is no view of one."""
        return self.known.view(tensor)

    def attach(self, ids: Tensor, values: Tensor | None) -> None:
        """Let the entries of `values` belong to the units beside them."""
        view = None if values is None else self.view(values)
        if view is not None:
            self.ledger.attach(ids, view)

    def meet_constant(self, ids: Tensor, constant: Tensor) -> None:
        """Note what `constant` uses, and that units which it tells apart cannot be sliced away."""
        self.ledger.opaque |= self.known.names(constant)
        if constant.ndim > ids.ndim or any(
            ids.shape[ids.ndim - 1 - d] > 1 for d, size in enumerate(reversed(constant.shape)) if size > 1
        ):
            self.ledger.fix(ids)


def call_of(operation: Any, positional: Any, named: Any, output: Any, known: Known, ledger: Ledger) -> Call:
    """The call of `operation` with these arguments, which gave `output`."""
    names = [argument.name for argument in operation._schema.arguments]
    first = output[0] if isinstance(output, list | tuple) and output else output
    return Call(
        name=operation.overloadpacket.__name__.removesuffix("_"),
        operation=operation,
        arguments={**dict(zip(names, positional, strict=False)), **named},
        output=first if isinstance(first, Tensor) else torch.empty(0),
        known=known,
        ledger=ledger,
    )
