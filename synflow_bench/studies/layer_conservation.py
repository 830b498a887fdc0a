"""Whether layers share a score equally, so that the mean score falls as one over the size.

Figure 4 of Tanaka et al. 2020, arXiv 2006.05467. Where they do, a global ranking prunes the largest layers
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from torch import Tensor

from synflow_bench.charts import HEIGHT, INK, PALETTE, WIDTH, titled
from synflow_bench.studies._flow import flow_of, total
from synflow_bench.studies._panels import by_network, log_axis, panels
from synflow_bench.studies._request import Request
from synflow_bench.studies._subject import scores_at
from synflow_bench.studies._table import Row

TITLE = "Mean score of a layer against its size"


def rows(request: Request) -> Iterator[Row]:
    """A row a layer: `score_sum` of the absolute scores, `mean_score`, and how far the sum is from the total.

    Scores are taken in float64. `relative_error` is `score_sum / total_flow - 1`.
    """
    for subject in (each.in_double() for each in request.subjects()):
        for variant, compression in product(request.variants(), request.compressions):
            problem, scores = scores_at(subject, variant.pruner, variant.spec.name, compression)
            shared = {**subject.row, **variant.columns, "compression": compression}
            flow = flow_of(variant.pruner, problem, scores)
            for index, row in enumerate(layer_rows(scores), start=1):
                error = row["score_sum"] / flow - 1 if flow else None
                yield {**shared, "index": index, **row, "total_flow": flow, "relative_error": error}


def layer_rows(scores: Mapping[str, Tensor]) -> Iterator[Row]:
    """Layer, size, sum and mean of the absolute scores."""
    for layer, score in scores.items():
        size, whole = score.numel(), total(score)
        yield {"layer": layer, "size": size, "score_sum": whole, "mean_score": whole / size}


def chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Mean score by one over the size, a panel a pruner; dotted: equal sums, the mean of the layers'."""
    import altair as alt

    drawn = [row for row in _with_line(rows) if row["mean_score"] > 0]
    scale, title = alt.Scale(type="log"), "mean absolute score of the layer"
    x_axis = log_axis(row["inverse"] for row in drawn)
    y_axis = log_axis(row[name] for row in drawn for name in ("mean_score", "equal"))
    x = alt.X("inverse:Q", title="1 / weights of the layer", scale=scale, axis=x_axis)
    score, equal = (
        alt.Y(f"{name}:Q", title=title, scale=scale, axis=y_axis) for name in ("mean_score", "equal")
    )
    base = alt.Chart().encode(x=x)
    dots = base.mark_point(filled=True, opacity=0.85, color=PALETTE[0]).encode(y=score)
    line = base.mark_line(strokeDash=[2, 3], color=INK).encode(y=equal)
    faceted = panels(alt.layer(line, dots).properties(width=WIDTH, height=HEIGHT), drawn)
    note = "a dot a layer; dotted: every layer has the same sum"
    return titled(faceted.resolve_scale(y="independent"), f"{TITLE}: {by_network(rows)}", [*lines, note])


def _with_line(rows: Sequence[Row]) -> Iterator[Row]:
    groups: dict[Any, list[float]] = {}
    for row in rows:
        groups.setdefault((row["pruner"], row["model"], row["dataset"]), []).append(row["score_sum"])
    for row in rows:
        sums = groups[row["pruner"], row["model"], row["dataset"]]
        yield {**row, "inverse": 1 / row["size"], "equal": sum(sums) / len(sums) / row["size"]}
