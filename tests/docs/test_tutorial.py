"""The files and commands of the tutorial and the guides work as the pages say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pages import DOCS, ROOT, blocks, commands, files
from PIL import Image

from synflow_bench.cli import main
from synflow_bench.suites import load_suite

TUTORIAL = DOCS / "tutorial.md"
GUIDES = sorted((DOCS / "how-to").glob("*.md"))

QUICK = ROOT / "synflow_bench" / "suites" / "presets" / "quick.toml"
NOT_PLANNED = {"--log", "--log-json", "--keep", "--executor", "--address", "--per-cell", "--slurm"}
"""Options that a dry run refuses, because it would have nothing to write, or that need a cluster."""

pytestmark = pytest.mark.slow


def type_in(folder: Path, words: list[str]) -> str:
    """Run a command as printed, in a folder; it must succeed."""
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def typed(page: Path, *beginning: str) -> list[list[str]]:
    """The commands of a page that begin so, for this interpreter."""
    module = [["synflow_bench", *words[1:]] for words in commands(page)]
    return [words for words in module if tuple(words[1 : 1 + len(beginning)]) == beginning]


def save(page: Path, folder: Path, language: str = "python") -> None:
    for name, text in files(page, language).items():
        (folder / name).write_text(text, encoding="utf-8")


def test_the_tutorials_pruner_passes_check_and_is_on_the_board(tmp_path: Path) -> None:
    save(TUTORIAL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["gradnorm.py"]
    (check,) = typed(TUTORIAL, "check")
    verdicts = type_in(tmp_path, check)
    assert "fail" not in verdicts
    assert "exact-density         pass" in verdicts
    run, *_ = typed(TUTORIAL, "run", "--plugin")
    assert any(line.startswith("gradnorm ") for line in type_in(tmp_path, run).splitlines())
    records = [json.loads(path.read_text()) for path in tmp_path.glob("results/records/*/*/*/*.json")]
    assert len(records) == 160
    assert {record["status"] for record in records} == {"ok"}
    for words in typed(TUTORIAL, "leaderboard"):
        type_in(tmp_path, words)
    assert "gradnorm" in (tmp_path / "board.md").read_text()
    type_in(tmp_path, typed(TUTORIAL, "new-plugin")[0])
    assert (tmp_path / "synflow-bench-gradnorm" / "pyproject.toml").exists()


CHECKS = [(page, words) for page in GUIDES for words in typed(page, "check") if "--plugin" in words]


@pytest.mark.parametrize(("page", "words"), CHECKS, ids=[f"{p.stem}: {w[2]}" for p, w in CHECKS])
def test_a_guides_plugin_keeps_the_contract(page: Path, words: list[str], tmp_path: Path) -> None:
    save(page, tmp_path)
    assert "fail" not in type_in(tmp_path, words)


PLANS = [(page, words) for page in GUIDES for words in typed(page, "run") if "wandb" not in str(words)]


@pytest.fixture
def plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[list[str]], list[str]]]:
    """The cells of a `run` in a folder of its own: in this process, and without measuring their time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("synflow_bench.cli.forecast.estimate", lambda *_, **__: [])
    known = set(sys.modules)

    def plan(words: list[str]) -> list[str]:
        plain = [word for word in words if word != "--dry-run"]
        dropped = [i + offset for i, word in enumerate(plain) if word in NOT_PLANNED for offset in (0, 1)]
        kept = [word for i, word in enumerate(plain) if i not in dropped]
        assert main([*kept, "--dry-run", "--json"]) == 0
        return [cell["cell"] for cell in json.loads(capsys.readouterr().out)["cells"]]

    yield plan
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.parametrize(("page", "words"), PLANS, ids=[f"{p.stem}: {' '.join(w[1:])}" for p, w in PLANS])
def test_a_guides_run_can_be_planned(
    page: Path, words: list[str], tmp_path: Path, plan: Callable[[list[str]], list[str]]
) -> None:
    (tmp_path / "mine.toml").write_bytes(QUICK.read_bytes())
    save(page, tmp_path)
    save(page, tmp_path, "toml")
    if page.stem == "image-folder":
        _make_photographs(tmp_path / "photos")
        (tmp_path / "book.txt").write_text("It was a bright cold day, and the clocks struck. " * 40)
    assert plan(words[1:]) or "1/1000" in words, "a thousandth of a small suite is nothing"


def _make_photographs(folder: Path) -> None:
    """Write ten images of each of two classes, for training and for testing."""
    for part in ("train", "test"):
        for shade, name in enumerate(("cat", "dog")):
            (folder / part / name).mkdir(parents=True)
            for number in range(10):
                color = (25 * number, 200 * shade, 90)
                Image.new("RGB", (40, 32), color).save(folder / part / name / f"{number}.png")


def test_the_guides_logger_writes_a_line_a_cell(tmp_path: Path) -> None:
    page = DOCS / "how-to" / "write-a-logger.md"
    save(page, tmp_path)
    run = next(words for words in typed(page, "run") if "ticker=cells.txt" in words)
    type_in(tmp_path, [*run, "--seeds", "1", "--compression", "10", "--executor", "serial"])
    lines = (tmp_path / "cells.txt").read_text().splitlines()
    assert [line.split()[1] for line in lines] == ["ok", "ok"]


def test_the_guides_suite_is_one(tmp_path: Path) -> None:
    save(DOCS / "how-to" / "write-a-suite.md", tmp_path, "toml")
    suite = load_suite(tmp_path / "my-suite.toml")
    assert [setting.model.name for setting in suite.settings] == ["fc", "lottery/resnet20"]
    assert len(suite.pruners) == 4


SMALL = '"random"], compressions=[2], seeds=1, epochs=1)'


def test_the_guide_to_python_runs(tmp_path: Path) -> None:
    code = "".join(text for _, text in blocks(DOCS / "how-to" / "from-python.md", "python"))
    script = tmp_path / "script.py"
    script.write_text(code.replace("seeds=3,", "seeds=2, epochs=1,").replace('"random"])', SMALL))
    done = subprocess.run(
        [sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, timeout=540
    )
    assert done.returncode == 0, done.stderr
    assert "| synflow" in done.stdout
    assert (tmp_path / "accuracy.svg").exists()
