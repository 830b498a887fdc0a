r"""Boards as LaTeX tables for a paper; they need `\usepackage{array,booktabs,graphicx,longtable}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from synflow_bench.leaderboard._board import Board, Leaderboard
from synflow_bench.leaderboard._details import detail_table
from synflow_bench.leaderboard._grid import Line, Mark, accuracy_lines, summary_headers
from synflow_bench.leaderboard._plain import column_groups
from synflow_bench.leaderboard._sheets import Sheet, overall_sheet, published_sheet
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import UNDECIDED, definitions, facts, footnotes, source

PACKAGES = r"\usepackage{array,booktabs,graphicx,longtable}"
"""What a document needs in its preamble."""

_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Begins what is made no wider than the lines of the page."""
_SHARES = {"pruner": 0.26, "collapsed": 0.22, "notes": 0.12}
"""Column of details -> the share of a line that its words are folded to."""
_LINE = 82
"""Digits of `\\scriptsize` that fit in a line of LaTeX's articles, the narrowest of common pages."""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "≈": r"$\approx$",
    "±": r"$\pm$",
    "–": "--",
    "[": "{[}",
    "]": "{]}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def render(page: Leaderboard) -> str:
    """Per board a captioned `table` of accuracies and a `longtable` of details; then the definitions."""
    meanings = (
        f"{escape(term)}: {escape(meaning).rstrip('.')}" for term, meaning in definitions("bold", page)
    )
    boards = (part for board in page.boards for part in _with_published(board, page))
    overall = [_sheet(overall_sheet(page.overall))] if page.overall else []
    alone = (_sheet(published_sheet(table)) for table in page.published_alone)
    meaning = _small("; ".join(meanings) + ".")
    parts = [rf"% needs {PACKAGES}", *boards, *overall, *alone, meaning]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """`text` with every sign that TeX would obey taken literally, and what is not ASCII replaced by `?`."""
    return "".join(_ESCAPES.get(sign, sign if sign.isascii() else "?") for sign in text)


def _with_published(board: Board, page: Leaderboard) -> Iterator[str]:
    yield _board(board)
    yield from (_sheet(published_sheet(table)) for table in page.published_for(board))


def _sheet(sheet: Sheet) -> str:
    caption = ". ".join(map(escape, [sheet.title, *sheet.notes]))
    rows = (map(escape, row) for row in sheet.rows)
    return "\n".join(_table(rf"\caption{{{caption}.}}\medskip", map(escape, sheet.headers), rows))


def _table(caption: str, headers: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A floating table no wider than the page; cells are LaTeX, the first column names the rows."""
    shown = list(headers)
    yield r"\begin{table}"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"
    yield caption
    yield _FIT
    yield rf"\begin{{tabular}}{{l{'r' * (len(shown) - 1)}}}"
    yield r"\toprule"
    yield _row(shown)
    yield r"\midrule"
    yield from map(_row, rows)
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _board(board: Board) -> str:
    notes = [_small(escape(note)) for note in [*footnotes(board), source(board)]]
    return "\n".join([*_accuracy(board), "", *_details(board), *notes])


def _small(text: str) -> str:
    return rf"{{\footnotesize\sloppy\noindent {text}\par}}"


def _accuracy(board: Board) -> Iterable[str]:
    caption = "\n".join([rf"\caption{{{_caption(board)}}}", rf"\label{{tab:accuracy-{board.id}}}\medskip"])
    headers = ["pruner", *map(compression, board.compressions), *summary_headers(board)]
    return _table(caption, headers, map(_cells, accuracy_lines(board)))


def _caption(board: Board) -> str:
    what = "final-epoch test top-1 in percent, by compression"
    return ". ".join(map(escape, [board.heading, what, *facts(board)])) + "."


def _cells(line: Line) -> list[str]:
    return [escape(line.label), *map(_mark, (*line.marks, *line.summary))]


def _mark(mark: Mark) -> str:
    below = rf"_{{\pm {mark.spread.removeprefix('±')}}}" if mark.spread else ""
    above = {"tie": r"^{\approx}", "undecided": f"^{{{UNDECIDED}}}"}.get(mark.standing or "", "")
    number = escape(mark.mean) + (f"${below}{above}$" if below or above else "")
    text = " ".join(filter(None, (number, escape(mark.note))))
    return rf"\textbf{{{text}}}" if mark.standing == "best" else text


def _details(board: Board) -> Iterator[str]:
    """The details in one table, or in several that begin alike where one would be wider than the page."""
    headers, rows = detail_table(board)
    for number, columns in enumerate(column_groups(headers, _folded(headers, rows), _LINE, repeated=2)):
        label = "" if number else rf"\label{{tab:details-{board.id}}}"
        part = [[row[index] for index in columns] for row in rows]
        caption = rf"\caption{{{escape(board.heading)}: details.}}{label}\\"
        yield from _long_table(caption, [headers[index] for index in columns], part)


def _folded(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """The rows as wide as they are once words are folded."""
    widths = {index: int(_LINE * _SHARES[name]) for index, name in enumerate(headers) if name in _SHARES}
    return [[text[: widths.get(index)] for index, text in enumerate(row)] for row in rows]


def _long_table(caption: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = zip(headers, zip(*rows, strict=True), strict=True)
    yield r"{\scriptsize\setlength{\tabcolsep}{3pt}"
    yield rf"\begin{{longtable}}{{{''.join(_column(header, cells) for header, cells in columns)}}}"
    yield caption
    yield r"\toprule"
    yield _row(headers)
    yield r"\midrule"
    yield r"\endhead"
    yield from (_row(map(_foldable, row)) for row in rows)
    yield r"\bottomrule"
    yield r"\end{longtable}}"


def _column(header: str, cells: Iterable[str]) -> str:
    share = _SHARES.get(header)
    if share is None:
        return "r"
    if max(map(len, cells)) <= _LINE * share:
        return "l"
    return rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}"


def _foldable(text: str) -> str:
    """Escaped; a long name may be broken after its dots and other signs."""
    return re.sub(r"(\.|/|=|\\_)(?=\w)", r"\1\\allowbreak{}", escape(text))


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
