"""Numbers that Tanaka et al. published of `lottery/vgg16-bn` at 100 classes, as rows of our tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from synflow_bench.leaderboard import PublishedTable, published_tables
from synflow_bench.studies._table import Row

CITATION = (
    "published: Tanaka, Kunin, Yamins, Ganguli 2020, arXiv 2006.05467",
    "published accuracy is max_test, the best epoch's; grasp's is suspect: its runs predate a corrected sign",
)
DATASET, MODEL = "cifar100", "lottery/vgg16-bn"
_FOLDER = Path(__file__).parent / "published"


def published_accuracy(dataset: str, model: str) -> Iterator[Row]:
    """The mean accuracies of a data set and network, a row a pruner and compression; none of `misnamed`."""
    for table in published_tables():
        if (table.dataset, table.model, table.reported_model) == (dataset, model, model):
            yield from _accuracies(table)


def misnamed(dataset: str, model: str) -> str | None:
    """Why what is published under the name of a network is not of it; None where it is."""
    for table in published_tables():
        if (table.dataset, table.reported_model) == (dataset, model) and table.model != model:
            why = f"the authors' block ignored its width, so it was {table.model}"
            return f"left out: what is published as {model}; {why}"
    return None


def _accuracies(table: PublishedTable) -> Iterator[Row]:
    names = {"source": "published", "metric": table.metric, "dataset": table.dataset, "levels": 0}
    for row in table.rows:
        for compression, accuracy in row.accuracy.items():
            shared = {**names, "model": table.model, "pruner": row.pruner, "suspect": row.suspect}
            yield {**shared, "compression": compression, "seed": None, "top1": accuracy.mean}


def published_densities() -> Iterator[Row]:
    """The mean layer densities, as rows of `layer-density`; their pruners are marked as published."""
    with (_FOLDER / "layer_density.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            exponent, size, density = (
                float(line["log10_compression"]),
                int(line["size"]),
                float(line["density_mean"]),
            )
            if exponent not in {1.0, 2.0, 3.0}:
                continue
            suspect = " (suspect)" if line["pruner"] == "grasp" else ""
            yield {
                "dataset": DATASET,
                "model": MODEL,
                "seed": None,
                "pruner": f"{line['pruner']} published{suspect}",
                "rounds": None,
                "schedule": None,
                "compression": round(10**exponent),
                "index": int(line["layer"]) + 1,
                "layer": line["module"],
                "size": size,
                "kept": density * size,
                "density": density,
            }


def published_critical_compressions() -> Iterator[Row]:
    """The largest compression at which no layer is empty, a row a pruner and run."""
    with (_FOLDER / "critical_compression.csv").open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            for run in ("run1", "run2", "run3"):
                yield {"source": "published", "pruner": line["pruner"], "critical": 10 ** float(line[run])}
