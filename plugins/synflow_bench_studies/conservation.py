"""Conservation of scores by unit (figure 3), by layer (figure 4) and during training (figure 5b).

Tanaka et al. 2020, arXiv 2006.05467. SynFlow scores into a hidden unit have the same sum as those out of it.
Then all layers have the same sum, and the mean score of a layer is proportional to one over its size, so that
a global ranking prunes the largest layers first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synflow_bench.charts import HEIGHT, INK, PALETTE, RAMP, WIDTH, titled
from synflow_bench.errors import ModelError, UsageError
from synflow_bench.graph import CONSTANT, Edges, Graph, LayerEdges, View
from synflow_bench.protocols import examples_of, training_of
from synflow_bench.records import Epoch
from synflow_bench.training import train
from synflow_bench_studies.panels import log_axis, networks, panels
from synflow_bench_studies.request import Request, Subject, score_sum, total_flow
from synflow_bench_studies.table import Row

DRAWN = 2000
"""The most points in a panel; of more units every second, third, ... is drawn."""

_SIZE = "1 / number of weights in the layer"


def unit_rows(request: Request) -> Iterator[Row]:
    """Yield one row per hidden unit: `score_in` and `score_out`, signed sums in float64.

    A unit is a channel of an activation, or a feature. Channels that a shortcut adds count as one unit, and a
    bias counts as input of its unit where biases are pruned. `relative_error` is the difference of both sums
    over the larger one.

    Raises:
        ModelError: The units of the network cannot be traced.
    """
    for subject in (each.in_double() for each in request.subjects()):
        graph = _graph(subject)
        for found in request.defined(subject, subject.scores):
            _, scores = found.result
            for row in _units(graph, scores):
                yield {**found.row, **row}


def layer_rows(request: Request) -> Iterator[Row]:
    """Yield one row per layer: `score_sum` and `mean_score` of the absolute scores, and the total flow.

    Scores are computed in float64. `relative_error` is `score_sum / total_flow - 1`.
    """
    for subject in (each.in_double() for each in request.subjects()):
        for found in request.defined(subject, subject.scores):
            problem, scores = found.result
            flow = total_flow(found.variant.pruner, problem, scores)
            for index, (layer, score) in enumerate(scores.items(), start=1):
                size, whole = score.numel(), score_sum(score)
                yield {
                    **found.row,
                    "index": index,
                    "layer": layer,
                    "size": size,
                    "score_sum": whole,
                    "mean_score": whole / size,
                    "total_flow": flow,
                    "relative_error": whole / flow - 1 if flow else None,
                }


def training_rows(request: Request) -> Iterator[Row]:
    """Yield one row per epoch and layer: the means of the absolute scores and of their squares.

    The dense network is trained once for all pruners.

    Raises:
        UsageError: The request has no dataset.
    """
    if request.input:
        raise UsageError("imp-conservation trains; name a dataset with --dataset")
    unpruned = replace(request, compressions=(1,))
    for subject in unpruned.subjects():
        found: list[Row] = []
        examples = examples_of(subject.cell, subject.context)
        on_epoch = partial(_score_epoch, unpruned, subject, found)
        train(training_of(subject.cell, subject.network, {}, examples, on_epoch))
        yield from found


def unit_chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Draw the absolute score out of a unit by the score into it, a panel per pruner."""
    import altair as alt

    drawn, thinned = _drawn_units(rows)
    scale = alt.Scale(type="log")
    axis = log_axis(row[name] for row in drawn for name in ("into", "out"))
    title = "score out of the unit (absolute)"
    x = alt.X("into:Q", title="score into the unit (absolute)", scale=scale, axis=axis)
    out, equal = (alt.Y(f"{name}:Q", scale=scale, axis=axis, title=title) for name in ("out", "into"))
    base = alt.Chart().encode(x=x)
    points = base.mark_point(filled=True, opacity=0.5, size=18, color=PALETTE[0]).encode(y=out)
    line = base.mark_line(strokeDash=[2, 3], color=INK).encode(y=equal)
    layered = alt.layer(points, line).properties(width=WIDTH, height=HEIGHT)
    faceted = panels(layered, drawn).resolve_scale(x="independent", y="independent")
    note = "a point per unit; dotted line: both scores are equal"
    note += f"; at most {DRAWN} units of each pruner are drawn" if thinned else ""
    return titled(faceted, f"Score into and out of hidden units: {networks(rows)}", [*lines, note])


def layer_chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Draw the mean score by one over the size, a panel per pruner, with a line for equal sums."""
    import altair as alt

    drawn = [row for row in _with_line(rows) if row["mean_score"] > 0]
    scale, title = alt.Scale(type="log"), "mean absolute score of the layer"
    x_axis = log_axis(row["inverse"] for row in drawn)
    y_axis = log_axis(row[name] for row in drawn for name in ("mean_score", "equal"))
    x = alt.X("inverse:Q", title=_SIZE, scale=scale, axis=x_axis)
    score, equal = (
        alt.Y(f"{name}:Q", title=title, scale=scale, axis=y_axis) for name in ("mean_score", "equal")
    )
    base = alt.Chart().encode(x=x)
    points = base.mark_point(filled=True, opacity=0.85, color=PALETTE[0]).encode(y=score)
    line = base.mark_line(strokeDash=[2, 3], color=INK).encode(y=equal)
    faceted = panels(alt.layer(line, points).properties(width=WIDTH, height=HEIGHT), drawn)
    title = f"Mean score of a layer against its size: {networks(rows)}"
    note = "a point per layer; dotted line: all layers have the same sum of scores"
    return titled(faceted.resolve_scale(y="independent"), title, [*lines, note])


def training_chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Draw the mean squared score by one over the size: a color per epoch, a panel per pruner."""
    import altair as alt

    drawn = [{**row, "inverse": 1 / row["size"]} for row in rows if row["mean_square"] > 0]
    scale = alt.Scale(type="log")
    x_axis, y_axis = (log_axis(row[name] for row in drawn) for name in ("inverse", "mean_square"))
    base = alt.Chart().encode(
        x=alt.X("inverse:Q", title=_SIZE, scale=scale, axis=x_axis),
        y=alt.Y("mean(mean_square):Q", title="mean squared score of the layer", scale=scale, axis=y_axis),
        color=alt.Color("epoch:Q", title="epoch", scale=alt.Scale(scheme=RAMP)),
        detail="layer:N",
    )
    points = base.mark_point(filled=True, size=55, opacity=0.9)
    faceted = panels(alt.layer(points).properties(width=WIDTH, height=HEIGHT), drawn)
    title = f"Mean squared score of a layer during training: {networks(rows)}"
    note = "a point per layer and epoch"
    return titled(faceted.resolve_scale(y="independent"), title, [*lines, note])


def _units(graph: Graph, scores: Mapping[str, Tensor]) -> Iterator[Row]:
    """The hidden units: those that one scored layer writes and another one reads."""
    group = _groups(graph)
    into, out = torch.zeros(2, graph.num_nodes, dtype=torch.float64)
    writer = torch.full((graph.num_nodes,), CONSTANT)
    read = torch.zeros(graph.num_nodes, dtype=torch.bool)
    layers = list(scores)
    for step in graph.steps:
        if isinstance(step, LayerEdges) and step.weight is not None and step.weight.name in scores:
            flow = _view(step.weight, scores[step.weight.name])
            flow = flow.flatten(3).sum(-1) if flow.ndim > 3 else flow
            into.index_add_(0, group[step.outputs], flow.sum(2).flatten())
            real = step.inputs != CONSTANT
            out.index_add_(0, group[step.inputs[real]], flow.sum(1).flatten()[real])
            read[group[step.inputs[real]]] = True
            fresh = group[step.outputs][writer[group[step.outputs]] == CONSTANT]
            writer[fresh] = layers.index(step.weight.name)
    for each in graph.node_values:
        if each.values.name in scores:
            values = _view(each.values, scores[each.values.name])
            into.index_add_(0, group[each.nodes], values.take(each.entries))
    hidden = (writer != CONSTANT) & read
    hidden[group[graph.inputs]] = False
    hidden[group[graph.outputs]] = False
    for unit in hidden.nonzero().flatten().tolist():
        one, other = float(into[unit]), float(out[unit])
        larger = max(abs(one), abs(other))
        error = abs(one - other) / larger if larger else 0.0
        layer = layers[int(writer[unit])]
        yield {"layer": layer, "unit": unit, "score_in": one, "score_out": other, "relative_error": error}


def _graph(subject: Subject) -> Graph:
    found = subject.network.graph
    if not isinstance(found, Graph):
        raise ModelError(f"{found.reason}; unit-conservation needs a network whose units can be traced")
    return found


def _groups(graph: Graph) -> Tensor:
    """A number per unit (units,) int64, the same for units that norms, activations or sums join."""
    group = torch.arange(graph.num_nodes)
    while True:
        before = group.clone()
        for step in graph.steps:
            if isinstance(step, Edges):
                real = (step.sources != CONSTANT) & (step.targets != CONSTANT)
                ends = step.sources[real], step.targets[real]
                least = torch.minimum(group[ends[0]], group[ends[1]])
                for end in ends:
                    group.scatter_reduce_(0, end, least, "amin")
        if torch.equal(before, group):
            return group


def _view(view: View, scores: Tensor) -> Tensor:
    laid_out = torch.empty_strided(view.base_shape, view.base_stride, dtype=torch.float64)
    return view.of(laid_out.copy_(scores))


def _score_epoch(request: Request, subject: Subject, found: list[Row], epoch: Epoch) -> None:
    for scored in request.defined(subject, subject.scores):
        names = {name: value for name, value in scored.row.items() if name != "compression"}
        shared = {**names, "epoch": epoch.epoch, "test_top1": epoch.test_top1}
        for layer, score in scored.result[1].items():
            size = score.numel()
            means = {
                "mean_score": score_sum(score) / size,
                "mean_square": float(np.square(score.cpu().numpy(), dtype=np.float64).sum()) / size,
            }
            found.append({**shared, "layer": layer, "size": size, **means})


def _drawn_units(rows: Sequence[Row]) -> tuple[list[Row], bool]:
    """The points to draw, and whether some were left out."""
    shown: list[Row] = []
    thinned = False
    for _, group in groupby(rows, key=lambda row: (row["dataset"], row["model"], row["pruner"])):
        points = [row for row in group if row["score_in"] and row["score_out"]]
        keys = ("dataset", "model", "pruner")
        step = -(-len(points) // DRAWN) or 1
        thinned |= step > 1
        shown += [
            {key: row[key] for key in keys} | {"into": abs(row["score_in"]), "out": abs(row["score_out"])}
            for row in points[::step]
        ]
    return shown, thinned


def _with_line(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows with `equal`, the mean score at which every layer has the mean of the layers' sums."""
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault((row["pruner"], row["model"], row["dataset"]), []).append(row["score_sum"])
    for row in rows:
        sums = groups[row["pruner"], row["model"], row["dataset"]]
        yield {**row, "inverse": 1 / row["size"], "equal": sum(sums) / len(sums) / row["size"]}
