"""Every format of a board: complete, explicit about what is missing, and always the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard import FORMATS, Leaderboard, build_leaderboard, format_of, render

OF_BOARDS = [name for name, form in FORMATS.items() if not form.of_records]
PROSE = [name for name in OF_BOARDS if name not in {"csv", "json"}]


@pytest.mark.parametrize("form", OF_BOARDS)
def test_equal_records_give_equal_bytes_in_any_order(example: list[Any], form: str) -> None:
    expected = render(build_leaderboard(example), form)
    assert render(build_leaderboard(reversed(example)), form) == expected
    assert expected.endswith("\n")


@pytest.mark.parametrize("form", PROSE)
@pytest.mark.parametrize(
    "said",
    ["digits / fc", "5 epochs, adam, lr 0.1", "validation 10", "3 seeds (0, 1, 2)", "synflow", "theoretical"],
)
def test_what_a_reader_needs_to_judge_a_board_is_in_every_format(text_of: Any, form: str, said: str) -> None:
    assert said in text_of(form).lower()


@pytest.mark.parametrize("form", PROSE)
@pytest.mark.parametrize(
    "said", ["after the final epoch", "95", "t-interval", "nothing runs faster", "log compression"]
)
def test_every_format_defines_its_terms(text_of: Any, form: str, said: str) -> None:
    assert said in " ".join(text_of(form).split())


@pytest.mark.parametrize("form", PROSE)
def test_failed_cells_are_in_the_footer(text_of: Any, form: str) -> None:
    assert "snip: 1 cell failed, not averaged (ScoreError" in " ".join(text_of(form).split())


@pytest.mark.parametrize("form", [*PROSE])
def test_a_preliminary_board_is_called_one(make_board: Any, form: str) -> None:
    text = render(Leaderboard((make_board({"snip": {10: (0.5,)}}),)), form)
    said = (
        "preliminary: fewer than 3 seeds in every row (at most 1) and fewer than 5 compressions above 1 (1)"
    )
    assert said in " ".join(text.split())


@pytest.mark.parametrize("form", [*PROSE])
def test_a_board_with_ranks_is_not_called_preliminary(text_of: Any, form: str) -> None:
    assert "preliminary: " not in text_of(form)


@pytest.mark.parametrize("form", OF_BOARDS)
def test_no_boards_can_be_rendered_too(form: str) -> None:
    assert render(Leaderboard(()), form)


@pytest.mark.parametrize(
    ("form", "cells"),
    [
        ("markdown", [" best |", "-33.0 ±"]),
        ("table", [" best", "-33.0 ±"]),
        ("latex", ["& best &", r"-33.0$_{\pm "]),
        ("html", ["best<", '-33.0 <span class="spread">±']),
    ],
)
def test_prose_has_the_difference_of_the_auc_from_the_best(text_of: Any, form: str, cells: list[str]) -> None:
    text = text_of(form)
    assert "AUC to best" in text
    table = text.split("achieved")[0]
    assert all(cell in table for cell in cells)


@pytest.mark.parametrize("form", FORMATS)
def test_the_suffix_of_a_file_names_its_format(form: str) -> None:
    suffix = FORMATS[form].suffix
    assert format_of(Path(f"board{suffix}")) == format_of(Path(f"BOARD{suffix.upper()}")) == form


def test_an_unknown_suffix_or_format_is_an_error_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"use one of \.txt, \.md, .* or name it with --format"):
        format_of(Path("board.docx"))
    with pytest.raises(UnknownNameError, match="unknown format 'markdwn'; did you mean 'markdown'"):
        render(Leaderboard(()), "markdwn")


def test_no_format_loads_a_heavy_library() -> None:
    code = (
        "import sys; from synflow_bench.leaderboard import FORMATS, Leaderboard, render\n"
        "for form in FORMATS: form == 'parquet' or render(Leaderboard(()), form)\n"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'pandas'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_lines_per_seed_are_refused_by_formats_without_them() -> None:
    with pytest.raises(UsageError, match="'markdown' has no lines per seed"):
        render(Leaderboard(()), "markdown", per_seed=True)
