r"""Boards as LaTeX tables for a paper; they need `\usepackage{booktabs,longtable}`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from synflow_bench.leaderboard._board import Board, Leaderboard
from synflow_bench.leaderboard._details import detail_table
from synflow_bench.leaderboard._grid import Line, Mark, accuracy_lines, summary_headers
from synflow_bench.leaderboard._sheets import Sheet, overall_sheet, published_sheet
from synflow_bench.leaderboard._text import compression
from synflow_bench.leaderboard._words import UNDECIDED, definitions, facts, footnotes, source

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
    parts = [r"% needs \usepackage{booktabs,longtable}", *boards, *overall, *alone, meaning]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """`text` with every sign that TeX would obey taken literally, and what is not ASCII replaced by `?`."""
    return "".join(_ESCAPES.get(sign, sign if sign.isascii() else "?") for sign in text)


def _with_published(board: Board, page: Leaderboard) -> Iterator[str]:
    yield _board(board)
    yield from (_sheet(published_sheet(table)) for table in page.published_for(board))


def _sheet(sheet: Sheet) -> str:
    caption = ". ".join(map(escape, [sheet.title, *sheet.notes]))
    lines = [
        r"\begin{table}",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{caption}.}}\medskip",
        rf"\begin{{tabular}}{{l{'r' * (len(sheet.headers) - 1)}}}",
        r"\toprule",
        _row(map(escape, sheet.headers)),
        r"\midrule",
        *(_row(map(escape, row)) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _board(board: Board) -> str:
    notes = [_small(escape(note)) for note in [*footnotes(board), source(board)]]
    return "\n".join([*_accuracy(board), "", *_details(board), *notes])


def _small(text: str) -> str:
    return rf"{{\footnotesize\noindent {text}\par}}"


def _accuracy(board: Board) -> Iterable[str]:
    yield r"\begin{table}"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"
    yield rf"\caption{{{_caption(board)}}}"
    yield rf"\label{{tab:accuracy-{board.id}}}\medskip"
    yield rf"\begin{{tabular}}{{l{'r' * (len(board.compressions) + len(summary_headers(board)))}}}"
    yield r"\toprule"
    yield _row(["pruner", *map(compression, board.compressions), *summary_headers(board)])
    yield r"\midrule"
    yield from (_row(_cells(line)) for line in accuracy_lines(board))
    yield r"\bottomrule"
    yield r"\end{tabular}"
    yield r"\end{table}"


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


def _details(board: Board) -> Iterable[str]:
    headers, rows = detail_table(board)
    wide = {"collapsed": r"p{0.22\linewidth}", "notes": r"p{0.12\linewidth}", "pruner": "l"}
    yield r"{\footnotesize\setlength{\tabcolsep}{4pt}"
    yield rf"\begin{{longtable}}{{{''.join(wide.get(header, 'r') for header in headers)}}}"
    yield rf"\caption{{{escape(board.heading)}: details.}}\label{{tab:details-{board.id}}}\\"
    yield r"\toprule"
    yield _row(headers)
    yield r"\midrule"
    yield r"\endhead"
    yield from (_row([escape(text) for text in row]) for row in rows)
    yield r"\bottomrule"
    yield r"\end{longtable}}"


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
