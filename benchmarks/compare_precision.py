"""Compare accuracies in bfloat16 and float32: `python benchmarks/compare_precision.py RESULTS [RESULTS ...]`.

For every pruner and compression that is recorded in float32 and in bfloat16 with all else equal: the mean
final test accuracies in percent, and their difference paired by seed, with half-widths of 95 % t-intervals;
then the seconds of the trainings.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, median, stdev

from scipy.stats import t
from tabulate import tabulate

from synflow_bench.records import Record, Store

Place = tuple[str, float]
Runs = dict[int, Record]
"""The records of one place by seed."""


def runs(records: Iterator[Record]) -> dict[str, dict[Place, dict[str, Runs]]]:
    """Group records by their setting without its precision, then by place and precision."""
    found: dict[str, dict[Place, dict[str, Runs]]] = defaultdict(lambda: defaultdict(_by_precision))
    for record in records:
        setting, cell = record.cell.setting, record.cell
        recipe = setting.recipe.model_copy(update={"precision": "fp32"})
        without_precision = setting.model_copy(update={"recipe": recipe})
        place = cell.pruner.label, cell.compression
        found[without_precision.digest][place][setting.recipe.precision][cell.seed] = record
    return found


def _by_precision() -> dict[str, Runs]:
    return defaultdict(dict)


def line(place: Place, fp32: Runs, bf16: Runs) -> list[str]:
    """Return a row of the table; seeds that one precision lacks are left out."""
    seeds = sorted(fp32.keys() & bf16.keys())
    full, half = ([_top1(each[seed]) for seed in seeds] for each in (fp32, bf16))
    paired = [b - a for a, b in zip(full, half, strict=True)]
    seconds = [median(each[seed].timing.train_seconds for seed in seeds) for each in (fp32, bf16)]
    return [place[0], f"{place[1]:g}", *map(interval, (full, half, paired)), *(f"{s:.1f}" for s in seconds)]


def interval(values: Sequence[float]) -> str:
    """Return the mean ± the half-width of the 95 % t-interval."""
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):.1f} ±{half:.1f}"


def _top1(record: Record) -> float:
    if record.metrics is None:
        raise SystemExit(f"cell {record.key} is {record.status}; run it again")
    return 100 * record.metrics.test_top1


def main(folders: Sequence[str]) -> None:
    records = (record for folder in folders for record in Store(Path(folder)))
    rows = [
        line(place, both["fp32"], both["bf16"])
        for places in runs(records).values()
        for place, both in sorted(places.items(), key=lambda item: (item[0][0], item[0][1]))
        if len(both["fp32"].keys() & both["bf16"].keys()) > 1
    ]
    head = ["pruner", "compression", "fp32", "bf16", "difference", "fp32, s", "bf16, s"]
    print(tabulate(rows, head, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main(sys.argv[1:])
