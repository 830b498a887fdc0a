"""The tables of the page on all pruners are those of the committed board."""

from __future__ import annotations

from pages import ROOT

PAGE = ROOT / "docs" / "explanation" / "all-pruners.md"
BOARD = ROOT / "leaderboard" / "fashion" / "board.md"


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def test_every_row_of_the_page_is_a_row_of_the_board() -> None:
    board, page = set(rows(BOARD.read_text(encoding="utf-8"))), rows(PAGE.read_text(encoding="utf-8"))
    assert len(page) >= 20
    assert [row for row in page if row not in board] == []
