"""Measure how costs grow, fit power laws, and write `scaling.csv`, `scaling-fits.csv` and `scaling.svg`.

`python benchmarks/measure_scaling.py [--output FOLDER]`: two or three minutes, one thread.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FIGURES, help="folder (default: that of the page)")
    output: Path = parser.parse_args().output

    import torch
    from scaling.costs import everything

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    points = []
    for point in everything():
        points.append(asdict(point))
        print(
            f"{point.axis:9} {point.cost:24} {point.x:10,} {point.seconds:10.5f} s {point.clock}", flush=True
        )
    output.mkdir(parents=True, exist_ok=True)
    fits = fitted(points)
    write(output / "scaling.csv", points)
    write(output / "scaling-fits.csv", fits)
    from scaling.charts import write_growth

    write_growth(output / "scaling.svg", points, fits)


def fitted(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A power law for every cost with three points or more."""
    from scaling.fit import fit_power_law

    found = []
    for (axis, cost), group in groupby(sorted(points, key=_series), key=_series):
        rows = list(group)
        if len(rows) < 3:
            continue
        law = fit_power_law([row["x"] for row in rows], [row["seconds"] for row in rows])
        found.append(
            {"axis": axis, "cost": cost, "points": len(rows), **asdict(law), "last_slope": _last_slope(rows)}
        )
    return found


def _last_slope(rows: Sequence[Mapping[str, Any]]) -> float:
    """That between the two largest: constant costs weigh least there."""
    (x, y), (later_x, later_y) = sorted((row["x"], row["seconds"]) for row in rows)[-2:]
    return math.log(later_y / y) / math.log(later_x / x)


def _series(row: Mapping[str, Any]) -> tuple[str, str]:
    return row["axis"], row["cost"]


def write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table of rows with equal columns, six significant digits."""
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows
        )


if __name__ == "__main__":
    main()
