"""The page on photographs says what the committed board says."""

from __future__ import annotations

from pages import ROOT

PAGE = (ROOT / "docs" / "explanation" / "photographs.md").read_text(encoding="utf-8")
BOARD = (ROOT / "leaderboard" / "cifar10-jpeg" / "board.md").read_text(encoding="utf-8")


def lines(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(start)]


def test_the_table_of_the_page_is_that_of_the_board() -> None:
    board, page = lines(BOARD, "|"), lines(PAGE, "|")
    assert len(page) >= 12  # a heading, the line below it, and ten rows
    assert [row for row in page if row not in board] == []


def test_the_page_quotes_what_the_board_says_of_budgets() -> None:
    said = lines(BOARD, "- within ")
    assert said
    assert [line for line in said if line not in PAGE] == []
