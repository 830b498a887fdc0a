"""Where a pruner leaves weights: the share of every layer that is kept; one that keeps nothing has collapsed.

Figure 2 of Tanaka et al. 2020, arXiv 2006.05467.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from synflow_bench.charts import HEIGHT, INK, RAMP, WIDTH, titled
from synflow_bench.studies._panels import by_network, log_axis, panels
from synflow_bench.studies._request import Request
from synflow_bench.studies._subject import prune
from synflow_bench.studies._table import Row

TITLE = "Layer densities after pruning"


def rows(request: Request) -> Iterator[Row]:
    """A row a layer: `size` weights, `kept` of them, `density` = kept / size."""
    for subject in request.subjects():
        for variant, compression in product(request.variants(), request.compressions):
            masks = prune(subject, variant.pruner, variant.spec.name, compression)
            shared = {**subject.row, **variant.columns, "compression": compression}
            for index, (layer, kept) in enumerate(masks.layer_kept.items(), start=1):
                size = masks[layer].numel()
                counts = {"size": size, "kept": kept, "density": kept / size}
                yield {**shared, "index": index, "layer": layer, **counts}


def chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Density by layer, a line a compression, a panel a pruner; crosses at the foot mark empty layers."""
    import altair as alt

    floor = min((row["density"] for row in rows if row["density"]), default=1e-3) / 3
    drawn = [{**row, "shown": max(row["density"], floor), "empty": row["density"] == 0} for row in rows]
    layers = list(range(1, int(max(row["index"] for row in rows)) + 1))
    scale = alt.Scale(type="log", domain=[floor / 1.5, 1])
    base = alt.Chart().encode(
        x=alt.X("index:Q", title="layer", axis=alt.Axis(values=layers, format="d", grid=False)),
        y=alt.Y("mean(shown):Q", title="share of weights kept", scale=scale, axis=log_axis([floor * 3, 1])),
        detail="compression:Q",
    )
    colour = alt.Color("compression:O", title="compression", scale=alt.Scale(scheme=RAMP))
    line = base.mark_line(point=True).encode(color=colour)
    crosses = base.mark_point(shape="cross", angle=45, size=70, color=INK, filled=True)
    layered = alt.layer(line, crosses.transform_filter("datum.empty")).properties(width=WIDTH, height=HEIGHT)
    empty = any(row["empty"] for row in drawn)
    note = ["\N{MULTIPLICATION SIGN} at the foot: nothing is kept, the layer has collapsed"] if empty else []
    return titled(panels(layered, drawn), f"{TITLE}: {by_network(rows)}", [*lines, *note])
