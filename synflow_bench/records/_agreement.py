"""Whether the numbers of a record agree: with each other, and with the density that its cell asks for."""

from __future__ import annotations

from collections.abc import Iterable
from math import isclose
from typing import TYPE_CHECKING, NamedTuple

from synflow_bench.suites import Cell

if TYPE_CHECKING:
    from synflow_bench.records._record import Metrics


class Weights(NamedTuple):
    """How many weights there are, how many are kept, and how many of those are on a path, where known."""

    size: int
    kept: int
    effective_kept: int | None

    @property
    def fault(self) -> str | None:
        """What is wrong with the numbers."""
        if self.kept > self.size:
            return f"{self.kept} weights are kept of {self.size}"
        if (self.effective_kept or 0) > self.kept:
            return f"{self.effective_kept} weights are on a path, where {self.kept} are kept"
        return None


def total(layers: Iterable[Weights]) -> Weights:
    """The weights of all layers; those on a path are known where they are known of every layer."""
    size, kept, effective = 0, 0, 0
    known = True
    for of_layer, left, on_paths in layers:
        size, kept = size + of_layer, kept + left
        if on_paths is None:
            known = False
        else:
            effective += on_paths
    return Weights(size, kept, effective if known else None)


def disagreement(cell: Cell, metrics: Metrics, weights: Weights) -> str | None:
    """What is wrong with the numbers of a cell that went well, in one line; None where nothing is.

    The harness keeps exactly round(size / compression) of all weights, and at least one.
    """
    size, kept, effective = weights
    asked = round(cell.density * size)
    if kept != asked or not asked:
        asked_for = f"asks for {asked}" if asked else "leaves none"
        return f"{kept} of {size} weights are kept, where compression {cell.compression:g} {asked_for}"
    if cell.is_dense and kept != size:
        return f"the dense network keeps all of its {size} weights, not {kept}"
    if not isclose(metrics.density, kept / size):
        return _differs("density", metrics.density, kept / size)
    if not isclose(metrics.compression, size / kept):
        return _differs("compression", metrics.compression, size / kept)
    given, counted = metrics.effective_compression, size / effective if effective else None
    if given is counted or (given and counted and isclose(given, counted)):
        return None
    return _differs("effective_compression", given, counted)


def _differs(name: str, given: float | None, counted: float | None) -> str:
    return f"metrics.{name} is {given}, where the weights of the layers give {counted}"
