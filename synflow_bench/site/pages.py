"""The files of a site, and all boards as a single page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from synflow_bench.charts import script_json, vega_library
from synflow_bench.errors import count
from synflow_bench.leaderboard import (
    EXPLANATIONS,
    Board,
    ClaimChecks,
    Leaderboard,
    check_claims,
    render,
    render_claims,
)
from synflow_bench.leaderboard.costs import budget_sentence, point_budgets
from synflow_bench.leaderboard.definitions import METRICS, RECORD_METRICS
from synflow_bench.leaderboard.describe import comparisons, facts, notes, source
from synflow_bench.leaderboard.formatting import (
    BLANK,
    EQUIVALENT,
    UNDECIDED,
    compression,
    percent,
    percentage,
    significant,
)
from synflow_bench.leaderboard.grouping import by_board, newest_rows
from synflow_bench.leaderboard.over_settings import overall_ranking_lacks
from synflow_bench.leaderboard.statistics import mean
from synflow_bench.leaderboard.tables import (
    accuracy_table,
    details_table,
    measured_tables,
    overall_section,
    published_section,
)
from synflow_bench.leaderboard.tuning import tune_results
from synflow_bench.records import Record, Result, printable, printable_lines
from synflow_bench.site.answers import answers
from synflow_bench.site.charts import (
    Values,
    accuracy_chart,
    curve_values,
    drawn_rows,
    has_effective,
    row_styles,
    shared_charts,
)
from synflow_bench.site.claim_pages import claim_filters
from synflow_bench.site.cost_charts import cost_chart, cost_compressions, cost_notes, middle
from synflow_bench.site.rank_charts import (
    difference_chart,
    mean_rank_values,
    profile_chart,
    range_values,
    rank_chart,
)
from synflow_bench.suites import Cell

File = tuple[str, str]
Pairs = list[tuple[str, str]]
Densities = dict[tuple[float, str], tuple[float, float | None]]
"""Compression and layer -> the mean density over seeds, and that of effective weights."""


class Method(Protocol):
    """The description of a pruner, such as `synflow_bench.host.Description`."""

    @property
    def line(self) -> str:
        """A summary in one line."""

    @property
    def text(self) -> Sequence[str]:
        """Further paragraphs."""

    @property
    def paper(self) -> str:
        """The paper, empty if it is not known."""

    @property
    def parameters(self) -> Mapping[str, str]:
        """The defaults of its parameters."""

    @property
    def meanings(self) -> Mapping[str, str]:
        """The descriptions of its parameters."""


Methods = Mapping[str, Method]
"""Pruner -> its description."""

CHARTS_ON_INDEX = 12
"""The most boards that the index draws; with more of them it has only their tables."""
RECORD_COLUMNS = ("test top-1", "achieved", "effective", "speedup", "prune s", "train s")
"""Metrics in tables of records."""
_ARXIV = re.compile(r"arXiv (\d{4}\.\d{4,5})")
_CODE = re.compile(r"`([^`]+)`")
_ASSETS = Path(__file__).parent / "assets"
_TEMPLATES = Path(__file__).parent / "templates"
_OUTLINES = {
    "circle": "M0,-4.5A4.5,4.5 0 1 1 0,4.5A4.5,4.5 0 1 1 0,-4.5Z",
    "square": "M-4,-4H4V4H-4Z",
    "triangle-up": "M0,-5L5,4H-5Z",
    "triangle-down": "M0,5L5,-4H-5Z",
    "triangle-right": "M5,0L-4,5V-5Z",
    "diamond": "M0,-5.5L5,0L0,5.5L-5,0Z",
    "cross": "M-1.7,-5H1.7V-1.7H5V1.7H1.7V5H-1.7V1.7H-5V-1.7H-1.7Z",
    "triangle-left": "M-5,0L4,5V-5Z",
}
"""Shape -> the SVG path of its mark in a legend."""


def site_files(
    leaderboard: Leaderboard,
    results: Sequence[Result],
    records: Iterable[Record],
    methods: Methods | None = None,
) -> Iterator[File]:
    """Yield the path and the text of every file of a site; `records` are read one by one."""
    pages = environment(leaderboard, methods or {})
    lines = record_lines(results, leaderboard.boards)
    for path in sorted(_ASSETS.iterdir()):
        yield f"assets/{path.name}", path.read_text(encoding="utf-8")
    yield "assets/vega.js", vega_library()
    yield "assets/charts.js", _shared_charts()
    checks = check_claims(leaderboard)
    yield "index.html", _render(pages, "index", checks=checks)
    yield "definitions.html", _render(pages, "definitions")
    yield "claims.html", _render(pages, "claims", checks=checks)
    for form in ("csv", "json"):
        yield f"claims.{form}", render_claims(checks, form)
    if pages.globals["methods"]:
        yield "methods.html", _render(pages, "methods")
    if leaderboard.boards:
        yield "leaderboard.csv", render(leaderboard, "csv")
        yield "leaderboard.json", render(leaderboard, "json")
    densities: dict[tuple[str, str], LayerDensities] = {}
    boards = {board.id: board for board in leaderboard.boards}
    for record in records:
        line = lines.get(record.key)
        if line is None:
            continue
        if record.status == "ok" and not line.left_out:
            densities.setdefault((line.board, line.label), LayerDensities()).add(record)
        values = _record(boards[line.board], line, record)
        yield f"records/{record.key}.html", _render(pages, "record", root="../", **values)
    for board in leaderboard.boards:
        own = [line for line in lines.values() if line.board == board.id]
        yield f"boards/{board.id}.html", _render(pages, "board", root="../", board=board, lines=own)
        for row in (*board.rows, *board.ablated):
            of_row = [line for line in own if line.label == row.label]
            found = densities.get((board.id, row.label), LayerDensities()).means()
            values = {"board": board, "row": row, "lines": of_row, **_density_values(found)}
            yield row_path(board, row.label), _render(pages, "row", root="../", **values)


def board_page(leaderboard: Leaderboard) -> str:
    """Return all boards as a single page, with its styles and scripts, that links to no other file."""
    return _render(environment(leaderboard, {}, single=True), "index")


def claims_page(checks: ClaimChecks) -> str:
    """Return the verdicts on published numbers as a single page that links to no other file."""
    return _render(environment(Leaderboard(()), {}, single=True), "claims", checks=checks)


def environment(leaderboard: Leaderboard, methods: Methods, *, single: bool = False) -> Environment:
    """Return the templates with the globals and filters that they use; all text is escaped.

    Only those of the `methods` are kept that are on some board.

    With `single`, styles, scripts and definitions are part of the index.
    """
    pages = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    boards = leaderboard.boards
    styles = row_styles(boards)
    shown = {row.pruner for board in boards for row in board.rows}
    pages.globals |= {
        "methods": {name: method for name, method in sorted(methods.items()) if name in shown},
        "leaderboard": leaderboard,
        "boards": boards,
        "single": single,
        "lead": _lead(leaderboard),
        "charts_here": len(boards) <= CHARTS_ON_INDEX,
        "signs": {"equivalent": EQUIVALENT, "undecided": UNDECIDED},
        "outlines": _OUTLINES,
        "anchors": {term: re.sub(r"[^a-z0-9]+", "-", term.lower()) for term in EXPLANATIONS},
        "meanings": EXPLANATIONS,
        "styles": styles,
        "record_columns": RECORD_COLUMNS,
        # Files of this package and of a library need no escaping:
        "asset": lambda name: Markup((_ASSETS / name).read_text(encoding="utf-8")),  # noqa: S704  # nosec B704
        "vega": lambda: Markup(vega_library()),  # noqa: S704  # nosec B704
    }
    pages.filters |= {
        "facts": _facts,
        "answers": budget_sentence,
        "budgets": point_budgets,
        "cost_compressions": cost_compressions,
        "cost_notes": cost_notes,
        "middle": middle,
        "notes": notes,
        "source": source,
        "row_path": row_path,
    }
    pages.filters |= {"accuracies": partial(accuracy_table, rank_first=True), "details": details_table}
    pages.filters |= {"measured": measured_tables, "best_of": answers, **claim_filters()}
    pages.filters |= {"overall": overall_section, "overall_lacks": overall_ranking_lacks}
    pages.filters |= {"published": published_section, "drawn": drawn_rows, "has_effective": has_effective}
    pages.filters |= {"compression": compression, "density": _density_cell, "record_cell": _record_cell}
    pages.filters |= {"percentage": percentage, "significant": significant}
    pages.filters |= {"line": printable, "lines": printable_lines, "json": _escaped_json}
    pages.filters |= {"prose": _prose, "ranges": range_values}
    pages.filters |= {
        "range_spec": lambda board: rank_chart(range_values(board), styles, "rank", "container").to_dict(),
        "mean_rank_spec": lambda overall: rank_chart(
            mean_rank_values(overall), styles, "mean rank", "container"
        ).to_dict(),
        "difference_spec": lambda overall: difference_chart(
            overall.ranks, overall.test, styles, "container"
        ).to_dict(),
        "profile_spec": lambda overall: profile_chart(overall.ranks, styles, "container").to_dict(),
    }
    # A board is drawn on two pages, and altair is slow.
    by_number = {id(board): board for board in boards}
    for name, draw in (("accuracy_spec", accuracy_chart), ("cost_spec", cost_chart)):
        specification = cache(lambda number, draw=draw: draw(by_number[number], styles).to_dict())
        pages.filters[name] = lambda board, specification=specification: specification(id(board))
    return pages


@cache
def _shared_charts() -> str:
    return f"window.synflowBenchCharts = {script_json(shared_charts())};\n"


def _render(pages: Environment, template: str, root: str = "", **values: Any) -> str:
    return pages.get_template(f"{template}.html.j2").render(root=root, **values) + "\n"


def _escaped_json(value: Any) -> Markup:
    return Markup(script_json(value))  # HTML reads no sign of it  # noqa: S704  # nosec B704


def _prose(text: str) -> Markup:
    """Return a line of a docstring as HTML: numbers of arXiv as links, names in backticks as code."""
    linked = _ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>', str(escape(text)))
    return Markup(_CODE.sub(r"<code>\1</code>", linked))  # noqa: S704  # nosec B704 - the text is escaped


def _facts(board: Board) -> list[str]:
    """Return the lines under the heading of a board, without the sentence that stands above them."""
    answer = set(budget_sentence(board))
    return [line for line in (*facts(board), *comparisons(board)) if line not in answer]


def _lead(leaderboard: Leaderboard) -> str:
    rows = {row.label for board in leaderboard.boards for row in board.rows if row.competes}
    records = sum(board.records for board in leaderboard.boards)
    parts = [count(len(rows), "row"), count(len(leaderboard.boards), "setting"), count(records, "record")]
    return (
        f"{parts[0]} in {parts[1]}, from {parts[2]}. In every setting all pruners share initial weights, "
        "data order and augmentation at each seed, and keep exactly the same number of weights. Every row "
        "is compared with the best, with one correction for all comparisons of a board."
    )


def row_path(board: Board, label: str) -> str:
    """Return the page of the row with this label, from the root of the site."""
    labels = [row.label for row in (*board.rows, *board.ablated)]
    return f"rows/{board.id}-{labels.index(label)}.html"


@dataclass(frozen=True)
class RecordLine:
    """One record in a table; `left_out` is the reason why it is on no board, empty if it is on one."""

    result: Result
    board: str
    label: str
    left_out: str


def record_lines(results: Iterable[Result], boards: Iterable[Board]) -> dict[str, RecordLine]:
    """Return the lines of all records by key, ordered by row, compression and seed.

    Args:
        results: The results of the boards; those of values that tuning did not choose have no line.
        boards: The boards.
    """
    settings = {board.setting.board: board for board in boards}
    for tuning in {board.tuned.tuning for board in settings.values() if board.tuned}:
        results, _ = tune_results(results, tuning)
    lines = {}
    for place, group in by_board(results).items():
        board = settings[place]
        rows, _ = newest_rows(group)
        labels = {result.key: label for label, row in rows.items() for result in row}
        for result in sorted(group, key=lambda each: (each.cell.row, each.cell.compression, each.cell.seed)):
            label = printable(labels.get(result.key, result.cell.row))
            left_out = "" if result.key in labels else _left_out(result.cell, board)
            lines[result.key] = RecordLine(result, board.id, label, left_out)
    return lines


def _left_out(cell: Cell, board: Board) -> str:
    if cell.is_dense and cell.setting.digest != board.setting.digest:
        return "the dense network of another protocol"
    return "of an older revision"


def _record_cell(result: Result, name: str) -> str:
    """Return a metric of a record for a table: without its unit, and without the reason if it is missing."""
    metric = METRICS[name]
    value = metric.of_record(result) if metric.of_record else None
    return BLANK if value is None else str(metric.show(value)).removesuffix(" %")


def _record(board: Board, line: RecordLine, record: Record) -> dict[str, Any]:
    accuracies, losses = curve_values(record)
    provenance = dict(_leaves(record.provenance.model_dump(mode="json")))
    if record.masks:
        provenance["masks, sha256"] = record.masks
    cell = record.cell
    return {
        "record": record,
        "title": f"{line.label}, compression {compression(cell.compression)}, seed {cell.seed}",
        "heading": board.heading,
        "label": line.label,
        "left_out": line.left_out,
        "board_path": f"boards/{board.id}.html",
        "row_path": None if line.left_out else row_path(board, line.label),
        "accuracies": accuracies,
        "losses": losses,
        "metrics": metric_pairs(record) if record.metrics else [],
        "provenance": list(provenance.items()),
        "cell": list(_leaves(cell.model_dump(mode="json", exclude={"pruner": {"label"}}))),
    }


def metric_pairs(record: Record | Result) -> Pairs:
    """Return all metrics of a record as text."""
    return [(metric.name, metric.in_record(record)) for metric in RECORD_METRICS]


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield printable(f"{above}{name}"), BLANK if value in (None, {}, []) else printable(str(value))


class LayerDensities:
    """The densities of the layers of one row, collected record by record."""

    def __init__(self) -> None:
        self._found: dict[tuple[float, str], list[tuple[float, float | None]]] = {}

    def add(self, record: Record) -> None:
        """Add one record; layers without weights have no density."""
        for layer in record.layers:
            if layer.size:
                effective = None if layer.effective_kept is None else layer.effective_kept / layer.size
                place = (record.cell.compression, printable(layer.name))
                self._found.setdefault(place, []).append((layer.kept / layer.size, effective))

    def means(self) -> Densities:
        """Return the means by compression, the smallest first, and layer, in the order of the network."""
        means: Densities = {}
        for place, both in sorted(self._found.items(), key=lambda item: item[0][0]):
            effective = [value for _, value in both if value is not None]
            complete = len(effective) == len(both)
            means[place] = (mean([kept for kept, _ in both]), mean(effective) if complete else None)
        return means


def _density_values(densities: Densities) -> dict[str, Any]:
    return {
        "densities": densities,
        "values": layer_values(densities),
        "compressions": list(dict.fromkeys(value for value, _ in densities)),
        "layers": list(dict.fromkeys(layer for _, layer in densities)),
        "effective": any(effective is not None for _, effective in densities.values()),
    }


def layer_values(densities: Densities) -> Values:
    """Return one value per layer, compression and kind of density.

    A layer without weights lies on the lower edge of the chart.
    """
    flat = [
        (value, layer, kind, density)
        for (value, layer), both in densities.items()
        for kind, density in zip(("kept", "effective"), both, strict=True)
        if density is not None
    ]
    smallest = min((density for *_, density in flat if density > 0), default=1.0)
    floor = 10 ** math.floor(math.log10(smallest) - 1e-9)
    order = list(dict.fromkeys(layer for _, layer in densities))
    return [
        {
            "compression": compression(value),
            "layer": layer,
            "place": order.index(layer) + 1,
            "kind": kind,
            "density": 100 * max(density, floor),
            "text": f"{100 * density:.3g} %",
        }
        for value, layer, kind, density in flat
    ]


def _density_cell(both: tuple[float, float | None] | None) -> str:
    """Return kept and effective density of a layer in percent."""
    if both is None:
        return BLANK
    return " / ".join(_digits(density) for density in both if density is not None)


def _digits(density: float) -> str:
    return percent(density) if density >= 0.01 or density == 0 else f"{100 * density:.2g}"
