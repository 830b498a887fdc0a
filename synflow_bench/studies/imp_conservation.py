"""How training brings the mean squared score of layers to one over their size.

Figure 5b of Tanaka et al. 2020, arXiv 2006.05467: why magnitude, which collapses at initialization, does not
in iterative pruning.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from synflow_bench.charts import HEIGHT, RAMP, WIDTH, titled
from synflow_bench.errors import UsageError
from synflow_bench.protocols import examples_of, training_of
from synflow_bench.records import Epoch
from synflow_bench.studies._flow import total
from synflow_bench.studies._panels import by_network, log_axis, panels
from synflow_bench.studies._request import Request, Variant
from synflow_bench.studies._subject import Subject, scores_at
from synflow_bench.studies._table import Row
from synflow_bench.training import train

TITLE = "Mean squared score of a layer through training"


def rows(request: Request) -> Iterator[Row]:
    """A row an epoch and layer: `mean_score` of the absolute scores, and `mean_square` of them.

    The network is dense, and trained once for all pruners. Raises `UsageError` without a data set.
    """
    if request.input_shape:
        raise UsageError("imp-conservation trains; name a data set with --dataset")
    for subject in request.subjects():
        found: list[Row] = []
        cell, bench, network = subject.cell, subject.bench, subject.network

        def look(epoch: Epoch, subject: Subject = subject, found: list[Row] = found) -> None:
            for variant in request.variants():
                found.extend(_rows(subject, variant, epoch))

        train(training_of(cell, network, {}, examples_of(cell, bench), look))
        yield from found


def _rows(subject: Subject, variant: Variant, epoch: Epoch) -> Iterator[Row]:
    _, scores = scores_at(subject, variant.pruner, variant.spec.name, 1)
    shared = {**subject.row, **variant.columns, "epoch": epoch.epoch, "test_top1": epoch.test_top1}
    yield from ({**shared, **row} for row in layer_rows(scores))


def layer_rows(scores: Mapping[str, Tensor]) -> Iterator[Row]:
    """Layer, size, mean of the absolute scores and of their squares."""
    for layer, score in scores.items():
        size = score.numel()
        square = float(np.square(score.detach().cpu().numpy(), dtype=np.float64).sum())
        yield {"layer": layer, "size": size, "mean_score": total(score) / size, "mean_square": square / size}


def chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Mean squared score by one over the size, a colour an epoch, a panel a pruner."""
    import altair as alt

    drawn = [{**row, "inverse": 1 / row["size"]} for row in rows if row["mean_square"] > 0]
    scale = alt.Scale(type="log")
    x_axis, y_axis = (log_axis(row[name] for row in drawn) for name in ("inverse", "mean_square"))
    base = alt.Chart().encode(
        x=alt.X("inverse:Q", title="1 / weights of the layer", scale=scale, axis=x_axis),
        y=alt.Y("mean(mean_square):Q", title="mean squared score of the layer", scale=scale, axis=y_axis),
        color=alt.Color("epoch:Q", title="epoch", scale=alt.Scale(scheme=RAMP)),
        detail="layer:N",
    )
    dots = base.mark_point(filled=True, size=55, opacity=0.9)
    faceted = panels(alt.layer(dots).properties(width=WIDTH, height=HEIGHT), drawn)
    note = "a dot a layer and epoch"
    return titled(faceted.resolve_scale(y="independent"), f"{TITLE}: {by_network(rows)}", [*lines, note])
