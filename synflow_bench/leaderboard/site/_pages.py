"""The files of a site, one after the other: path -> content."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from synflow_bench.charts import script_json, vega_library
from synflow_bench.leaderboard import _csv, _json
from synflow_bench.leaderboard._board import Board, Leaderboard, Row
from synflow_bench.leaderboard._explanations import EXPLANATIONS
from synflow_bench.leaderboard._text import count
from synflow_bench.leaderboard.site._chart_values import curve_values
from synflow_bench.leaderboard.site._environment import environment, row_path
from synflow_bench.leaderboard.site._layers import LayerMeans, layer_values
from synflow_bench.leaderboard.site._records import (
    Line,
    accuracy_title,
    cell_pairs,
    lines_of,
    metric_pairs,
    provenance_pairs,
    timing_pairs,
)
from synflow_bench.leaderboard.site._shared_charts import shared_charts
from synflow_bench.records import Record, Result

File = tuple[str, str]
CHARTS_ON_INDEX = 12
"""Boards up to which the index draws them all; of more it has the tables."""
_ASSETS = Path(__file__).parent / "assets"


def site_files(page: Leaderboard, results: Sequence[Result], records: Iterable[Record]) -> Iterator[File]:
    """Every file of the site of `page`; `records` are whole, `results` the same ones in short.

    Record by record, so that no more than one is in memory.
    """
    pages = environment(page.boards)
    lines = lines_of(results)
    yield from _assets()
    yield "index.html", _render(pages, "index", page=page, boards=page.boards, **_index(page, lines))
    yield "definitions.html", _render(pages, "definitions", meanings=EXPLANATIONS)
    if page.boards:
        yield "leaderboard.csv", _csv.render(page)
        yield "leaderboard.json", _json.render(page)
    means: dict[tuple[str, str], LayerMeans] = {}
    yield from _records(pages, page, lines, records, means)
    for board in page.boards:
        own = [line for line in lines.values() if line.board == board.id]
        yield f"boards/{board.id}.html", _render(pages, "board", root="../", board=board, lines=own)
        for row in (*board.rows, *board.ablated):
            of_row = [line for line in own if line.label == row.label]
            gathered = means.get((board.id, row.label), LayerMeans())
            yield (
                row_path(board, row.label),
                _render(pages, "row", root="../", **_row(board, row, of_row, gathered)),
            )


def _assets() -> Iterator[File]:
    for path in sorted(_ASSETS.iterdir()):
        yield f"assets/{path.name}", path.read_text(encoding="utf-8")
    yield "assets/vega.js", vega_library()
    yield "assets/charts.js", _shared()


@cache
def _shared() -> str:
    return f"window.synflowBenchCharts = {script_json(shared_charts())};\n"


def _render(pages: Environment, template: str, root: str = "", **values: Any) -> str:
    return pages.get_template(f"{template}.html.j2").render(root=root, **values) + "\n"


def _index(page: Leaderboard, lines: dict[str, Line]) -> dict[str, Any]:
    rows = {row.label for board in page.boards for row in board.rows if row.competes}
    parts = [count(len(rows), "row"), count(len(page.boards), "setting"), count(len(lines), "record")]
    lead = (
        f"{parts[0]} in {parts[1]}, from {parts[2]}. In every setting all pruners share initial weights, "
        "data order and augmentation at each seed, and keep exactly the same number of weights; what cannot "
        "be told from the best is a tie."
    )
    return {"lead": lead, "charts_here": len(page.boards) <= CHARTS_ON_INDEX}


def _records(
    pages: Environment,
    page: Leaderboard,
    lines: dict[str, Line],
    records: Iterable[Record],
    means: dict[tuple[str, str], LayerMeans],
) -> Iterator[File]:
    boards = {board.id: board for board in page.boards}
    for record in records:
        line = lines[record.key]
        if record.status == "ok" and not line.outdated:
            means.setdefault((line.board, line.label), LayerMeans()).add(record)
        values = _record(boards[line.board], line, record)
        yield f"records/{record.key}.html", _render(pages, "record", root="../", **values)


def _record(board: Board, line: Line, record: Record) -> dict[str, Any]:
    accuracies, losses = curve_values(record)
    return {
        "record": record,
        "title": accuracy_title(record, line.label),
        "heading": board.heading,
        "label": line.label,
        "outdated": line.outdated,
        "row_path": None if line.outdated else row_path(board, line.label),
        "accuracies": accuracies,
        "losses": losses,
        "metrics": metric_pairs(record.metrics) if record.metrics else [],
        "timing": timing_pairs(record.timing) if record.timing else [],
        "provenance": provenance_pairs(record),
        "cell": cell_pairs(record),
    }


def _row(board: Board, row: Row, lines: Sequence[Line], gathered: LayerMeans) -> dict[str, Any]:
    densities = gathered.means()
    return {
        "board": board,
        "row": row,
        "lines": lines,
        "densities": densities,
        "values": layer_values(densities),
        "compressions": list(dict.fromkeys(value for value, _ in densities)),
        "layers": list(dict.fromkeys(layer for _, layer in densities)),
        "effective": any(effective is not None for _, effective in densities.values()),
    }
