"""Densities by layer, gathered record by record."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard.site._chart_values import Values
from synflow_bench.records import Record, printable

Densities = dict[tuple[float, str], tuple[float, float | None]]
"""Compression and layer -> the share that is kept, and the share that is kept on a path; means over seeds."""


def layer_values(densities: Densities) -> Values:
    """One value a layer, compression and kind of density; a layer without weights lies at the lower edge."""
    flat = [
        (value, layer, kind, density)
        for (value, layer), both in densities.items()
        for kind, density in zip(("kept", "effective"), both, strict=True)
        if density is not None
    ]
    floor = _floor(density for *_, density in flat)
    order = list(dict.fromkeys(layer for _, layer in densities))
    return [
        {
            "compression": compression(value),
            "layer": layer,
            "place": order.index(layer) + 1,
            "kind": kind,
            "density": 100 * max(density, floor),
            "text": f"{100 * density:.3g} %",
        }
        for value, layer, kind, density in flat
    ]


def _floor(densities: Iterable[float]) -> float:
    smallest = min((density for density in densities if density > 0), default=1.0)
    return float(10 ** math.floor(math.log10(smallest) - 1e-9))


class LayerMeans:
    """The densities of one row, gathered record by record."""

    def __init__(self) -> None:
        self._sums: dict[tuple[float, str], list[tuple[float, float | None]]] = {}

    def add(self, record: Record) -> None:
        """Count one record; layers without weights have no density."""
        for layer in record.layers:
            if layer.size:
                effective = None if layer.effective_kept is None else layer.effective_kept / layer.size
                place = (record.cell.compression, printable(layer.name))
                self._sums.setdefault(place, []).append((layer.kept / layer.size, effective))

    def means(self) -> Densities:
        """By compression, the smallest first; layers in the order of the network."""
        ordered = sorted(self._sums.items(), key=lambda item: item[0][0])
        return {
            place: (_mean([kept for kept, _ in both]), _all([e for _, e in both])) for place, both in ordered
        }


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _all(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return _mean(present) if len(present) == len(values) else None
