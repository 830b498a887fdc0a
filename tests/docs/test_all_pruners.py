"""The tables of the page on all pruners are those of the committed board."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from io import StringIO
from pathlib import Path
from statistics import mean

import compare_precision
import pytest
from pages import ROOT

from synflow_bench.cli import main

PAGE = ROOT / "docs" / "explanation" / "all-pruners.md"
PRECISION = ROOT / "leaderboard" / "precision" / "records.tar.gz"
RECORDS = ROOT / "leaderboard" / "fashion" / "records.tar.gz"
BOARD = ROOT / "leaderboard" / "fashion" / "board.md"


def rows(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith("|")]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_every_row_of_the_page_is_a_row_of_the_board() -> None:
    board = set(rows(BOARD.read_text(encoding="utf-8")))
    page = rows(PAGE.read_text(encoding="utf-8").partition("### Shuffled, with new weights, inverted on")[0])
    assert len(page) >= 50
    assert [row for row in page if row not in board] == []


def test_the_ablations_of_conv_are_those_of_the_committed_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--results", str(tmp_path)]
    assert main(["results", "import", str(RECORDS), *results]) == 0
    capsys.readouterr()
    assert main(["leaderboard", *results, "--model", "conv", "--format", "csv", "--per-seed"]) == 0
    found: dict[tuple[str, str, str], dict[str, float]] = defaultdict(dict)
    for row in csv.DictReader(StringIO(capsys.readouterr().out)):
        if row["test_top1"]:
            key = row["pruner"], row["ablation"], row["compression"].removesuffix(".0")
            found[key][row["seed"]] = 100 * float(row["test_top1"])
    page = PAGE.read_text(encoding="utf-8").partition("<!-- table: conv-ablations -->")[2]
    heading, _, *lines = map(cells, rows(page.partition("<!--")[0]))
    assert len(lines) == 15
    for pruner, ablation, *said in lines:
        for compression, each in zip(heading[2:], said, strict=True):
            plain, ablated = found[pruner, "none", compression], found[pruner, ablation, compression]
            differences = [plain[seed] - ablated[seed] for seed in plain]
            assert len(differences) == 3
            numbers = [float(number) for number in re.findall(r"-?[0-9.]+", each)]
            expected = [mean(differences), min(differences), max(differences)]
            assert numbers == pytest.approx(expected, abs=0.051)


def test_bfloat16_is_compared_by_the_committed_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["results", "import", str(PRECISION), "--results", str(tmp_path)]) == 0
    capsys.readouterr()
    compare_precision.main([str(tmp_path)])
    compared = [cells(row)[:5] for row in rows(capsys.readouterr().out)[2:]]
    page = rows(PAGE.read_text(encoding="utf-8").partition("### bfloat16")[2])
    assert [cells(row) for row in page[2:]] == compared
