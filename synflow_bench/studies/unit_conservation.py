"""Whether the score into a hidden unit is the score out of it.

Figure 3 of Tanaka et al. 2020, arXiv 2006.05467. A unit is a channel of an activation, or a feature. Channels
that a shortcut adds together count as one: conserved is the sum over all that write it and all that read it.
A bias writes its unit too, and counts where biases are pruned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, product
from typing import Any

import torch
from torch import Tensor

from synflow_bench.charts import HEIGHT, INK, PALETTE, WIDTH, titled
from synflow_bench.errors import ModelError
from synflow_bench.metrics import Connectivity
from synflow_bench.metrics.connectivity import NOTHING, Connection, Link, View
from synflow_bench.studies._panels import by_network, log_axis, panels
from synflow_bench.studies._request import Request
from synflow_bench.studies._subject import Subject, scores_at
from synflow_bench.studies._table import Row

TITLE = "Score into and out of hidden units"
DRAWN = 2000
"""Dots in a panel; more are thinned out evenly."""


def rows(request: Request) -> Iterator[Row]:
    """A row a hidden unit: `score_in` and `score_out`, signed sums in float64.

    `relative_error` is how far they are apart over the larger. Raises `ModelError` for a network whose units
    cannot be followed.
    """
    for subject in (each.in_double() for each in request.subjects()):
        connectivity = _connectivity(subject)
        for variant, compression in product(request.variants(), request.compressions):
            _, scores = scores_at(subject, variant.pruner, variant.spec.name, compression)
            shared = {**subject.row, **variant.columns, "compression": compression}
            for row in unit_rows(connectivity, scores):
                yield {**shared, **row}


def unit_rows(connectivity: Connectivity, scores: Mapping[str, Tensor]) -> Iterator[Row]:
    """The hidden units: those that one scored layer writes and another one reads."""
    group = _groups(connectivity)
    into, out = torch.zeros(2, connectivity.units, dtype=torch.float64)
    writer = torch.full((connectivity.units,), NOTHING)
    read = torch.zeros(connectivity.units, dtype=torch.bool)
    layers = list(scores)
    for step in connectivity.steps:
        if isinstance(step, Connection) and step.weight is not None and step.weight.name in scores:
            flow = _view(step.weight, scores[step.weight.name])
            flow = flow.flatten(3).sum(-1) if flow.ndim > 3 else flow
            into.index_add_(0, group[step.outputs], flow.sum(2).flatten())
            known = step.inputs != NOTHING
            out.index_add_(0, group[step.inputs[known]], flow.sum(1).flatten()[known])
            read[group[step.inputs[known]]] = True
            fresh = group[step.outputs][writer[group[step.outputs]] == NOTHING]
            writer[fresh] = layers.index(step.weight.name)
    for attachment in connectivity.attachments:
        if attachment.values.name in scores:
            values = _view(attachment.values, scores[attachment.values.name])
            into.index_add_(0, group[attachment.units], values.take(attachment.entries))
    hidden = (writer != NOTHING) & read
    hidden[group[connectivity.inputs]] = False
    hidden[group[connectivity.outputs]] = False
    for unit in hidden.nonzero().flatten().tolist():
        one, other = float(into[unit]), float(out[unit])
        larger = max(abs(one), abs(other))
        error = abs(one - other) / larger if larger else 0.0
        layer = layers[int(writer[unit])]
        yield {"layer": layer, "unit": unit, "score_in": one, "score_out": other, "relative_error": error}


def chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Score out by score in, in absolute value, a panel a pruner; dotted: conserved exactly."""
    import altair as alt

    drawn, thinned = _drawn(rows)
    scale = alt.Scale(type="log")
    axis = log_axis(row[name] for row in drawn for name in ("into", "out"))
    title = "score out of the unit (absolute)"
    x = alt.X("into:Q", title="score into the unit (absolute)", scale=scale, axis=axis)
    out, equal = (alt.Y(f"{name}:Q", scale=scale, axis=axis, title=title) for name in ("out", "into"))
    base = alt.Chart().encode(x=x)
    dots = base.mark_point(filled=True, opacity=0.5, size=18, color=PALETTE[0]).encode(y=out)
    line = base.mark_line(strokeDash=[2, 3], color=INK).encode(y=equal)
    layered = alt.layer(dots, line).properties(width=WIDTH, height=HEIGHT)
    faceted = panels(layered, drawn).resolve_scale(x="independent", y="independent")
    note = "a dot a unit; dotted: in = out" + (f"; {DRAWN} units of each pruner are drawn" if thinned else "")
    return titled(faceted, f"{TITLE}: {by_network(rows)}", [*lines, note])


def _drawn(rows: Sequence[Row]) -> tuple[list[Row], bool]:
    shown: list[Row] = []
    thinned = False
    for _, group in groupby(rows, key=lambda row: (row["dataset"], row["model"], row["pruner"])):
        dots = [row for row in group if row["score_in"] and row["score_out"]]
        keys = ("dataset", "model", "pruner")
        step = -(-len(dots) // DRAWN) or 1
        thinned |= step > 1
        shown += [
            {key: row[key] for key in keys} | {"into": abs(row["score_in"]), "out": abs(row["score_out"])}
            for row in dots[::step]
        ]
    return shown, thinned


def _connectivity(subject: Subject) -> Connectivity:
    found = subject.network.connectivity
    if not isinstance(found, Connectivity):
        raise ModelError(f"{found.reason}; unit-conservation needs a network whose units can be followed")
    return found


def _groups(connectivity: Connectivity) -> Tensor:
    """A number for every unit, the same for units that norms, activations or sums make one."""
    group = torch.arange(connectivity.units)
    while True:
        before = group.clone()
        for step in connectivity.steps:
            if isinstance(step, Link):
                known = (step.sources != NOTHING) & (step.targets != NOTHING)
                ends = step.sources[known], step.targets[known]
                least = torch.minimum(group[ends[0]], group[ends[1]])
                for end in ends:
                    group.scatter_reduce_(0, end, least, "amin")
        if torch.equal(before, group):
            return group


def _view(view: View, scores: Tensor) -> Tensor:
    laid_out = torch.empty_strided(view.base_shape, view.base_stride, dtype=torch.float64)
    return view.of(laid_out.copy_(scores))
