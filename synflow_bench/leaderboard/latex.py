r"""Boards as LaTeX tables for a paper; they need `\usepackage{array,booktabs,graphicx,longtable}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from synflow_bench.leaderboard.board import Leaderboard
from synflow_bench.leaderboard.formatting import CHANCE, UNDECIDED, TableCell
from synflow_bench.leaderboard.tables import Section, Table, column_groups, legend, sections

PACKAGES = r"\usepackage{array,booktabs,graphicx,longtable}"
"""The line that a document needs in its preamble."""

_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Begins a box that is scaled down to the width of a line if it is wider."""
_SHARES = {"pruner": 0.26, "collapsed": 0.22, "notes": 0.12}
"""Column of words -> the share of a line to which a long table wraps it."""
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
    "≥": r"$\geq$",
    "†": r"$\dagger$",
    "–": "--",
    "[": "{[}",
    "]": "{]}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}


def render(leaderboard: Leaderboard) -> str:
    """Return per board a captioned `table` of accuracies and a `longtable` of details; then definitions."""
    meanings = (
        f"{escape(term)}: {escape(meaning).rstrip('.')}" for term, meaning in legend(leaderboard, "bold")
    )
    parts = ["\n".join(_section(section)) for section in sections(leaderboard)]
    return "\n\n".join([rf"% needs {PACKAGES}", *parts, _small("; ".join(meanings) + ".")]) + "\n"


def escape(text: str) -> str:
    """Return `text` with every sign of TeX taken literally; what is not ASCII becomes `?`."""
    return "".join(_ESCAPES.get(sign, sign if sign.isascii() else "?") for sign in text)


def _section(section: Section) -> Iterator[str]:
    if not section.id:
        for table in section.tables:
            yield from _floating(table, [section.heading, *section.notes])
        return
    for table in section.tables:
        if table.is_long:
            yield ""
            yield from _long(table, section)
        else:
            label = rf"\label{{tab:accuracy-{section.id}}}"
            yield from _floating(table, [section.heading, table.title, *section.facts], f"\n{label}")
    yield from (_small(escape(note)) for note in (*section.notes, section.source))


def _floating(table: Table, caption: Iterable[str], label: str = "") -> Iterator[str]:
    """Yield a floating table that is no wider than the page."""
    yield r"\begin{table}"
    yield r"\centering\footnotesize\setlength{\tabcolsep}{3pt}"
    yield rf"\caption{{{'. '.join(map(escape, caption))}.}}{label}\medskip"
    yield _FIT
    yield rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}"
    yield r"\toprule"
    yield _row(map(escape, table.headings))
    yield r"\midrule"
    yield from (_row(map(_cell, row)) for row in table.rows)
    yield r"\bottomrule"
    yield r"\end{tabular}}"
    yield r"\end{table}"


def _cell(cell: TableCell) -> str:
    is_symmetric = cell.spread.startswith("±")
    below = rf"_{{\pm {cell.spread.removeprefix('±')}}}" if is_symmetric else ""
    above = {"equivalent": r"^{\approx}", "undecided": f"^{{{UNDECIDED}}}"}.get(cell.standing or "", "")
    number = escape(cell.mean) + (f"${below}{above}$" if below or above else "")
    limits = rf"{{\scriptsize {escape(cell.spread)}}}" if cell.spread and not is_symmetric else ""
    chance = escape(f"{CHANCE}{cell.chance}") if cell.chance else ""
    text = " ".join(filter(None, (number, limits, chance, escape(cell.note))))
    return rf"\textbf{{{text}}}" if cell.standing == "best" else text


def _small(text: str) -> str:
    return rf"{{\footnotesize\sloppy\noindent {text}\par}}"


def _long(table: Table, section: Section) -> Iterator[str]:
    """Yield a long table, or several with the same first columns where one would be wider than the page."""
    headings = table.headings
    rows = [[cell.text for cell in row] for row in table.rows]
    widths = {index: int(_LINE * _SHARES[name]) for index, name in enumerate(headings) if name in _SHARES}
    folded = [[text[: widths.get(index)] for index, text in enumerate(row)] for row in rows]
    for number, columns in enumerate(column_groups(headings, folded, _LINE, repeated=2)):
        label = "" if number else rf"\label{{tab:{table.name}-{section.id}}}"
        yield r"{\scriptsize\setlength{\tabcolsep}{3pt}"
        shown = [(headings[index], [row[index] for row in rows]) for index in columns]
        yield rf"\begin{{longtable}}{{{''.join(_column(heading, cells) for heading, cells in shown)}}}"
        yield rf"\caption{{{escape(section.heading)}: {table.name}.}}{label}\\"
        yield r"\toprule"
        yield _row(escape(heading) for heading, _ in shown)
        yield r"\midrule"
        yield r"\endhead"
        yield from (_row(_foldable(row[index]) for index in columns) for row in rows)
        yield r"\bottomrule"
        yield r"\end{longtable}}"


def _column(heading: str, cells: Sequence[str]) -> str:
    share = _SHARES.get(heading)
    if share is None:
        return "r"
    if max(map(len, cells)) <= _LINE * share:
        return "l"
    return rf">{{\raggedright\arraybackslash}}p{{{share}\linewidth}}"


def _foldable(text: str) -> str:
    """Return escaped text; a long name may be broken after its dots and other signs."""
    return re.sub(r"(\.|/|=|\\_)(?=\w)", r"\1\\allowbreak{}", escape(text))


def _row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"
