"""Markdown and notebooks: marks, columns, and nothing that a name says becomes markup."""

from __future__ import annotations

import re
from typing import Any

from synflow_bench.leaderboard import Leaderboard, build_leaderboard, render

EVIL = "<script>alert(1)</script>|$x_1^2$ & \\foo{%}#~*`[a](b)"


def test_markdown_has_the_best_in_bold_and_the_undecided_marked(text_of: Any) -> None:
    rows: dict[str, str] = {}
    for line in text_of("markdown").splitlines():
        if line.startswith("|"):
            rows.setdefault(line.split("|")[1].strip(), line)
    assert "**89.0 (88.0–90.1)**" in rows["synflow"]
    assert "?" not in rows["synflow"]
    assert "88.0 (86.0–90.0) ?" in rows["random"]
    assert {"≈", "**", "?"}.isdisjoint(rows["snip"])


def test_markdown_columns_are_the_compressions(text_of: Any) -> None:
    header = next(line for line in text_of("markdown").splitlines() if line.startswith("| pruner"))
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        "pruner", "1", "2", "5", "10", "20", "50", "rank", "AUC", "AUC to best",
        "AUC seeds needed", "AUC cost", "critical compression",
    ]  # fmt: skip


def test_markdown_rows_all_have_as_many_cells_as_their_header(make_board: Any, make_record: Any) -> None:
    text = render(
        Leaderboard((make_board(more=[make_record("evil", parameters={"note": EVIL})]),)), "markdown"
    )
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_missing_seeds_and_failures_show_in_the_accuracy_table(make_board: Any, make_record: Any) -> None:
    failed = [make_record("grasp", 10, seed=seed, status="failed") for seed in range(3)]
    text = render(
        Leaderboard((make_board({"snip": {5: (0.5, 0.6, 0.7), 10: (0.5, 0.6)}}, failed),)), "markdown"
    )
    snip = next(line for line in text.splitlines() if line.startswith("| snip"))
    grasp = next(line for line in text.splitlines() if line.startswith("| grasp"))
    assert "n=2" in snip
    assert "failed" in grasp


def test_a_notebook_shows_the_accuracies_and_names_stay_text(make_record: Any, example: list[Any]) -> None:
    leaderboard = build_leaderboard([*example, make_record("evil", parameters={"note": EVIL})])
    html = leaderboard._repr_html_()
    assert "89.0 (88.0–90.1) *" in html
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
