"""The tables of the page on all pruners are those of the committed board."""

from __future__ import annotations

from pathlib import Path

import compare_precision
import pytest
from pages import ROOT

from synflow_bench.cli import main

PAGE = ROOT / "docs" / "explanation" / "all-pruners.md"
PRECISION = ROOT / "leaderboard" / "precision" / "records.tar.gz"
BOARD = ROOT / "leaderboard" / "fashion" / "board.md"


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_row_of_the_page_is_a_row_of_the_board() -> None:
    board = set(rows(BOARD.read_text(encoding="utf-8")))
    page = rows(PAGE.read_text(encoding="utf-8").partition("## Earlier records")[0])
    assert len(page) >= 50
    assert [row for row in page if row not in board] == []


def test_bfloat16_is_compared_by_the_committed_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", "import", str(PRECISION), "--results", str(tmp_path)]) == 0
    capsys.readouterr()
    compare_precision.main([str(tmp_path)])
    compared = [cells(row)[:5] for row in rows(capsys.readouterr().out)[2:]]
    page = rows(PAGE.read_text(encoding="utf-8").partition("### bfloat16")[2])
    assert [cells(row) for row in page[2:]] == compared
