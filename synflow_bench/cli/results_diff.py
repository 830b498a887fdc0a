"""The output of `synflow-bench results diff`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import click

from synflow_bench.cli.output import print_json, print_table
from synflow_bench.errors import printable
from synflow_bench.leaderboard.side_by_side import RowDifference, SideBySide

_PRINTED = 20
"""The number of cells of one side, and of values of a field, that are printed; further ones are counted."""


def print_sides(sides: SideBySide, as_json: bool) -> None:
    """Print two sides as JSON, or as lines and tables in which equal rows are only counted."""
    if as_json:
        print_json(_as_json(sides))
        return
    for line in sides.refused:
        click.echo(printable(line), err=True)
    for name, cells in (("A", sides.only_a), ("B", sides.only_b)):
        _print_some(
            f"only in {name}: {len(cells)} cells", [f"{key}  {title}" for key, title in cells.items()]
        )
    for title, fields in sides.settings.items():
        values = (f"{name} {before} and {after}" for name, (before, after) in fields.items())
        click.echo(printable(f"{title} has other settings in A and B: {', '.join(values)}"))
    different = [row for row in sides.rows if row.verdict != "equal"]
    seeds, equal = sum(row.seeds for row in sides.rows), sum(row.equal for row in sides.rows)
    masks = sum(row.masks for row in sides.rows)
    click.echo(f"in both: {seeds} cells, of which {equal} have equal records and {masks} equal masks")
    if different:
        header = ["row", "compression", "seeds", "equal", "B - A, points", ""]
        print_table(header, [_row(row) for row in different])
        _print_verdicts(sides)
    if sides.metrics:
        rows = [[name, f"{before}", f"{after}"] for name, (before, after) in sides.metrics.items()]
        print_table(["metric", "A", "B"], [[printable(text) for text in row] for row in rows])
    for what, counted in (("cell", sides.cells), ("provenance", sides.provenance)):
        rows = [
            [name, before, after, str(count)]
            for name, counts in counted.items()
            for (before, after), count in list(counts.items())[:_PRINTED]
        ]
        if rows:
            print_table([what, "A", "B", "cells"], [[printable(text) for text in row] for row in rows])


def _print_verdicts(sides: SideBySide) -> None:
    counts = Counter(row.verdict for row in sides.rows)
    click.echo("rows: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    if counts["beyond noise"]:
        chance = sides.expected_by_chance
        click.echo(f"by chance alone, {chance:.1f} rows would seem to differ beyond noise")


def _print_some(title: str, lines: list[str]) -> None:
    if not lines:
        return
    click.echo(title)
    for line in lines[:_PRINTED]:
        click.echo(f"  {printable(line)}")
    if len(lines) > _PRINTED:
        click.echo(f"  ... and {len(lines) - _PRINTED} more; --json prints all")


def _row(row: RowDifference) -> list[str]:
    statuses = "; ".join(f"{count} x {pair}" for pair, count in row.statuses.items())
    verdict = f"{row.verdict} ({statuses})" if statuses else row.verdict
    compression = f"{row.compression:g}"
    return [printable(row.title), compression, str(row.seeds), str(row.equal), _points(row), verdict]


def _points(row: RowDifference) -> str:
    difference = row.difference
    if difference is None:
        return "–"
    mean = f"{100 * difference.mean:+.2f}"
    return mean if difference.half_width is None else f"{mean} ± {100 * difference.half_width:.2f}"


def _as_json(sides: SideBySide) -> dict[str, Any]:
    return {
        "differs": sides.differs,
        "only_a": dict(sides.only_a),
        "only_b": dict(sides.only_b),
        "rows": [asdict(row) for row in sides.rows],
        "expected_by_chance": sides.expected_by_chance,
        "settings": {title: _pairs(fields) for title, fields in sides.settings.items()},
        "cells": _values(sides.cells),
        "provenance": _values(sides.provenance),
        "metrics": _pairs(sides.metrics),
        "refused": list(sides.refused),
    }


def _pairs(fields: Mapping[str, tuple[Any, Any]]) -> dict[str, dict[str, Any]]:
    return {name: {"a": before, "b": after} for name, (before, after) in fields.items()}


def _values(fields: Mapping[str, Mapping[tuple[str, str], int]]) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [{"a": before, "b": after, "cells": count} for (before, after), count in counts.items()]
        for name, counts in fields.items()
    }
