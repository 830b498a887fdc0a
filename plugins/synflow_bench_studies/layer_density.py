"""Layer densities: the share of weights that a pruner keeps in each layer (figure 2).

Tanaka et al. 2020, arXiv 2006.05467. A layer that keeps no weight has collapsed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from synflow_bench.charts import HEIGHT, INK, RAMP, WIDTH, titled
from synflow_bench_studies.panels import log_axis, networks, panels
from synflow_bench_studies.request import Request
from synflow_bench_studies.table import Row

TITLE = "Layer densities after pruning"
PUBLISHED: dict[str, Any] = {
    "datasets": ("cifar100",),
    "models": ("lottery/vgg16-bn",),
    "compressions": (10, 100, 1000),
}
"""The published densities that `published_densities` gives, as options of a request for our own ones."""

_FILE = Path(__file__).parent / "published" / "layer_density.csv"


def density_rows(request: Request) -> Iterator[Row]:
    """Yield one row per layer: `size` weights, `kept` of them, and `density` = kept / size."""
    for subject in request.subjects():
        for found in request.defined(subject, subject.prune):
            masks = found.result
            for index, (layer, kept) in enumerate(masks.layer_kept.items(), start=1):
                size = masks[layer].numel()
                counts = {"size": size, "kept": kept, "density": kept / size}
                yield {**found.row, "index": index, "layer": layer, **counts}


def published_densities() -> Iterator[Row]:
    """Yield the published mean layer densities in the same form, their pruners marked as published."""
    (dataset,), (model,) = PUBLISHED["datasets"], PUBLISHED["models"]
    with _FILE.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            compression = 10 ** float(line["log10_compression"])
            if compression not in PUBLISHED["compressions"]:
                continue
            size, density = int(line["size"]), float(line["density_mean"])
            suspect = " (suspect)" if line["pruner"] == "grasp" else ""
            yield {
                "dataset": dataset,
                "model": model,
                "seed": None,
                "pruner": f"{line['pruner']} published{suspect}",
                "rounds": None,
                "schedule": None,
                "compression": round(compression),
                "index": int(line["layer"]) + 1,
                "layer": line["module"],
                "size": size,
                "kept": density * size,
                "density": density,
            }


def density_chart(rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
    """Draw the density by layer: a line per compression, a panel per pruner, crosses for collapsed layers."""
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
    color = alt.Color("compression:O", title="compression ratio", scale=alt.Scale(scheme=RAMP))
    line = base.mark_line(point=True).encode(color=color)
    crosses = base.mark_point(shape="cross", angle=45, size=70, color=INK, filled=True)
    layered = alt.layer(line, crosses.transform_filter("datum.empty")).properties(width=WIDTH, height=HEIGHT)
    empty = any(row["empty"] for row in drawn)
    note = (
        ["\N{MULTIPLICATION SIGN} at the bottom: a collapsed layer, which keeps no weight"] if empty else []
    )
    return titled(panels(layered, drawn), f"{TITLE}: {networks(rows)}", [*lines, *note])
