"""A table of plain text: for hundreds of lines, many times quicker than one of rich."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.cells import cell_len


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]], left: Collection[str]) -> str:
    """Headers, a rule and rows; columns named in `left` are aligned to the left."""
    columns = zip(headers, *rows, strict=True)
    widths = [max(map(cell_len, column)) for column in columns]
    lines = [_line(row, widths, [header in left for header in headers]) for row in [headers, *rows]]
    rule = "─" * (sum(widths) + 2 * len(widths) - 2)
    return "\n".join([lines[0], rule, *lines[1:]])


def column_groups(
    headers: Sequence[str], rows: Sequence[Sequence[str]], width: int, repeated: int
) -> list[list[int]]:
    """Indices of columns that fit beside each other in `width`; each group begins with the first `repeated`.

    A column that does not even fit beside those is a group of its own.
    """
    widths = [max(map(cell_len, column)) + 2 for column in zip(headers, *rows, strict=True)]
    first = list(range(repeated))
    groups = [list(first)]
    for index in range(repeated, len(widths)):
        if sum(widths[each] for each in [*groups[-1], index]) - 2 > width and len(groups[-1]) > repeated:
            groups.append(list(first))
        groups[-1].append(index)
    return groups


def width_of(table: str) -> int:
    """The columns that a plain table takes."""
    return cell_len(table.split("\n", 2)[1])


def _line(cells: Sequence[str], widths: Sequence[int], left: Sequence[bool]) -> str:
    padded = (
        cell + " " * (width - cell_len(cell)) if to_left else " " * (width - cell_len(cell)) + cell
        for cell, width, to_left in zip(cells, widths, left, strict=True)
    )
    return "  ".join(padded).rstrip()
