"""Up to which compression no layer is empty, from records: below, in figure 1 of Tanaka et al. 2020."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, takewhile
from math import log10
from typing import Any

from synflow_bench.charts import PALETTE, SHAPES, WIDTH
from synflow_bench.studies._panels import log_axis
from synflow_bench.studies._published import published_critical_compressions
from synflow_bench.studies._table import Row

TITLE = "largest compression without an empty layer"
PUBLISHED_STEP = 0.25
"""Decades between the compressions of the published runs."""


def critical_rows(rows: Sequence[Row], *, published: bool) -> list[Row]:
    """The largest compression up to which no layer is empty in any seed, a row a pruner; published ones too.

    A layer is empty where it keeps no weight, as in the published runs, whether or not paths lead through it.
    1, the dense network's, for a pruner that empties a layer at every compression.
    """
    ours = [
        {"source": "ours", "pruner": pruner, "critical": max(_alive(rows, pruner), default=1.0)}
        for pruner in _pruners(rows)
    ]
    return ours + (list(published_critical_compressions()) if published else [])


def critical_lines(rows: Sequence[Row], *, published: bool) -> list[str]:
    """What must be said below the title of `critical`."""
    alive = {pruner: _alive(rows, pruner) for pruner in _pruners(rows)}
    never = [pruner for pruner, compressions in alive.items() if not compressions]
    always = [pruner for pruner, found in alive.items() if found == _compressions(rows, pruner)]
    beside = "; published: a dot a run" if published else ""
    lines = [f"below, ours: up to where every layer keeps weights in all seeds, on a path or not{beside}"]
    if never:
        lines.append(f"at the left edge, as a layer is empty at every compression drawn: {', '.join(never)}")
    if always:
        lines.append(f"no layer is empty at any compression drawn: {', '.join(always)}")
    step = _step(rows)
    if published and step > PUBLISHED_STEP:
        steps = f"{step:g} decades apart, published ones {PUBLISHED_STEP:g}"
        lines.append(f"our compressions are {steps}: ours may lie lower for that alone")
    return lines


def _pruners(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["pruner"] for row in _pruned(rows)))


def _pruned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["source"] == "ours" and row["pruner"] != "dense"]


def _compressions(rows: Sequence[Row], pruner: str | None = None) -> list[float]:
    """Those drawn, of one pruner or of all, in order."""
    return sorted({row["compression"] for row in _pruned(rows) if pruner in (None, row["pruner"])})


def _alive(rows: Sequence[Row], pruner: str) -> list[float]:
    """The compressions of `pruner` below the first at which a layer of any seed is empty."""
    emptied = {row["compression"] for row in _pruned(rows) if row["pruner"] == pruner and row["empty"]}
    return list(takewhile(lambda compression: compression not in emptied, _compressions(rows, pruner)))


def _step(rows: Sequence[Row]) -> float:
    """The largest step between compressions, in decades."""
    logs = [log10(compression) for compression in _compressions(rows)]
    return max((round(after - before, 2) for before, after in pairwise(logs)), default=0.0)


def critical(rows: Sequence[Row]) -> Any:
    """Up to where each pruner leaves weights in every layer: of ours a dot a pruner, else a dot a run."""
    import altair as alt

    data = alt.Data(values=list(rows))  # type: ignore[no-untyped-call]
    axis = log_axis(row["critical"] for row in rows)
    domain = ["ours", "published"] if any(row["source"] == "published" for row in rows) else ["ours"]
    source = alt.Color(
        "source:N", title=None, scale=alt.Scale(domain=domain, range=list(PALETTE[: len(domain)]))
    )
    encoded = (
        alt.Chart(data)
        .mark_point(filled=True, size=60, opacity=0.8)
        .encode(
            x=alt.X(
                "critical:Q",
                title=TITLE,
                scale=alt.Scale(type="log"),
                axis=axis,
            ),
            y=alt.Y("pruner:N", title=None, sort=list(dict.fromkeys(row["pruner"] for row in rows))),
            color=source,
            shape=alt.Shape(
                "source:N", title=None, scale=alt.Scale(domain=domain, range=list(SHAPES[: len(domain)]))
            ),
        )
    )
    return encoded.properties(width=int(WIDTH * 1.25), height=120)
