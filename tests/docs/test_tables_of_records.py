"""Tables on pages, of means and ranges over seeds, are those of committed records."""

from __future__ import annotations

import csv
from collections import defaultdict
from io import StringIO
from pathlib import Path
from statistics import mean

import pytest
from pages import ROOT

from synflow_bench.cli import main

LEADERBOARD, DOCS = ROOT / "leaderboard", ROOT / "docs"


@pytest.mark.parametrize(
    ("archive", "page", "table", "compressions"),
    [
        ("scoring-mode/records.tar.gz", "reference/differences.md", "scoring-mode", {1, 20}),
    ],
)
def test_a_table_has_what_the_records_say(
    archive: str,
    page: str,
    table: str,
    compressions: set[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = ["--results", str(tmp_path)]
    assert main(["results", "import", str(LEADERBOARD / archive), *results]) == 0
    capsys.readouterr()
    assert main(["leaderboard", *results, "--format", "csv", "--per-seed"]) == 0
    accuracies = defaultdict(list)
    for row in csv.DictReader(StringIO(capsys.readouterr().out)):
        if float(row["compression"]) in compressions:
            accuracies[row["row"]].append(100 * float(row["test_top1"]))
    said = (
        (DOCS / page)
        .read_text(encoding="utf-8")
        .partition(f"<!-- table: {table} -->")[2]
        .partition("<!--")[0]
    )
    said_rows = dict(line.strip("| ").split(" | ") for line in said.strip().splitlines()[2:])
    assert {
        row: f"{mean(found):.1f} ({min(found):.1f}–{max(found):.1f})"
        for row, found in accuracies.items()
        if row in said_rows
    } == said_rows
    assert len(said_rows) >= 4


def test_the_suite_of_scoring_modes_has_no_cell_without_a_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, results = LEADERBOARD / "scoring-mode", ["--results", str(tmp_path)]
    assert main(["results", "import", str(folder / "records.tar.gz"), *results]) == 0
    assert main(["run", "--suite", str(folder / "suite.toml"), *results, "--dry-run"]) == 0
    assert "to run " not in capsys.readouterr().out
