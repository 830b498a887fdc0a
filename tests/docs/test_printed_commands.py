"""The command line accepts every `synflow-bench ...` that a page shows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest
from pages import PAGES, ROOT, commands, parse

PRINTED = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), PRINTED, ids=[f"{p.relative_to(ROOT)}: {' '.join(w)}" for p, w in PRINTED]
)
def test_it_is_accepted(
    page: Path, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (words[i + 1] for i, word in enumerate(words) if word == "--plugin"):
        Path(file).write_text("")
    parse(words)


def test_there_are_many() -> None:
    assert len(PRINTED) > 60


def test_a_command_that_is_not_accepted_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```sh\nsynflow-bench run --al  # no such option\n```\nand `synflow-bench rnu`\n")
    wrong, missing = commands(page)
    assert wrong == ["synflow-bench", "run", "--al"]
    with pytest.raises(click.UsageError):
        parse(wrong)
    with pytest.raises(AssertionError, match="rnu"):
        parse(missing)


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert {"run", "test", "docs", "leaderboard"} <= named
    assert named <= targets


def test_help_lists_every_target() -> None:
    lines = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {"run", "test", "leaderboard-check", "help"} <= {line.split()[0] for line in lines.splitlines()}
