"""Parts that the charts share: a panel per pruner and network, and axes of powers of ten."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil, floor, log10
from typing import Any

from synflow_bench_studies.table import Row

COLUMNS = 3
"""Panels side by side."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def networks(rows: Sequence[Row]) -> str:
    """List the networks of `rows`, with their datasets."""
    return ", ".join(dict.fromkeys(network(row) for row in rows))


def network(row: Row) -> str:
    """Name the network of a row, with its dataset where it has one."""
    return f"{row['dataset']} / {row['model']}" if row["dataset"] else str(row["model"])


def panels(layered: Any, rows: Sequence[Row]) -> Any:
    """Repeat the chart `layered` for every pruner, and for every network where there are several."""
    import altair as alt

    several = len({network(row) for row in rows}) > 1
    named = [
        {**row, "panel": f"{row['pruner']}, {network(row)}" if several else row["pruner"]} for row in rows
    ]
    order = list(dict.fromkeys(row["panel"] for row in named))
    facet = alt.Facet("panel:N", title=None, sort=order, header=alt.Header(labelFontWeight="bold"))
    data = alt.Data(values=named)  # type: ignore[no-untyped-call]
    faceted = layered.properties(data=data).facet(facet, columns=min(COLUMNS, len(order)))
    return faceted.resolve_axis(x="independent", y="independent")


def log_axis(values: Iterable[float], **options: Any) -> Any:
    """Make an axis that covers the positive `values`, with ticks at powers of ten only."""
    import altair as alt

    exponents = [log10(value) for value in values if value > 0] or [0.0]
    low, high = floor(min(exponents)), ceil(max(exponents))
    marks = [10.0**n for n in range(low, high + 1)]
    names = {mark: _power(mark) for mark in marks}
    chosen = "".join(f"abs(datum.value / {mark!r} - 1) < 1e-6 ? '{name}' : " for mark, name in names.items())
    return alt.Axis(values=marks, labelOverlap=True, labelExpr=f"{chosen}''", **options)


def _power(mark: float) -> str:
    if 0.001 <= mark <= 1000:
        return f"{mark:g}"
    return f"10{str(round(log10(mark))).translate(_RAISED)}"
