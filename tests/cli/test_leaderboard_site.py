"""`synflow-bench leaderboard` into a folder of pages, and into a chart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, make_record: Callable[..., Any]) -> Path:
    store = Store(tmp_path_factory.mktemp("results"))
    for seed in range(3):
        store.put(make_record("dense", seed=seed, top1=0.97))
        for pruner in ("snip", "random"):
            for compression in (2, 5, 10):
                store.put(
                    make_record(pruner, compression, seed, 0.8 + seed / 100, effective_compression=12.0)
                )
    return store.root


@pytest.fixture
def leaderboard(invoke: Callable[..., Any], results: Path) -> Callable[..., Any]:
    return lambda *arguments: invoke("leaderboard", "--results", str(results), *arguments)


def test_html_to_a_folder_is_a_site_that_is_written_anew_by_force(leaderboard: Any, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    done = leaderboard("--format", "html", "--output", str(folder))
    assert (done.code, done.out) == (0, "")
    assert f"open '{folder}/index.html'" in done.err
    assert len(list(folder.glob("records/*.html"))) == 21
    again = leaderboard("--format", "html", "--output", str(folder))
    assert (again.code, "add --force" in again.err) == (2, True)
    assert leaderboard("--format", "html", "--output", str(folder), "--force", "--pruner", "snip").code == 0
    assert len(list(folder.glob("records/*.html"))) == 12


def test_a_tuned_board_is_a_site_too(
    leaderboard: Any, results: Path, tmp_path: Path, make_record: Callable[..., Any]
) -> None:
    folder, store = tmp_path / "tuned", Store(tmp_path / "results")
    setting = Store(results).results()[0].cell.setting
    for rate in (0.001, 0.01):
        recipe = setting.recipe.model_copy(update={"lr": rate})
        store.put(make_record("snip", 10, top1=rate, setting=setting.model_copy(update={"recipe": recipe})))
    arguments = ("--tune", "lr=0.001|0.01", "--format", "html", "--output", str(folder))
    done = leaderboard("--results", str(store.root), *arguments)
    assert done.code == 0, done.err
    (board,), (record,) = folder.glob("boards/*.html"), folder.glob("records/*.html")
    assert f"../boards/{board.name}" in record.read_text(encoding="utf-8")


def test_html_to_a_file_is_one_page(leaderboard: Any, tmp_path: Path) -> None:
    assert leaderboard("--output", str(tmp_path / "board.html")).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["board.html"]


def test_a_damaged_record_leaves_no_half_site(
    leaderboard: Any, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(path: Path) -> None:
        from synflow_bench.errors import RecordError

        raise RecordError(f"unreadable record {str(path)!r}")

    monkeypatch.setattr("synflow_bench.cli.leaderboard_request.read_record", damaged)
    done = leaderboard("--format", "html", "--output", str(tmp_path / "site"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("suffix", "begin"),
    [("svg", b"<svg"), ("pdf", b"%PDF"), ("png", b"\x89PNG"), ("html", b"<!DOCTYPE html>")],
)
def test_a_chart_is_drawn_as_its_suffix_says(
    leaderboard: Any, tmp_path: Path, suffix: str, begin: bytes
) -> None:
    file = tmp_path / f"chart.{suffix}"
    assert leaderboard("--chart", str(file)).code == 0
    assert file.read_bytes().startswith(begin)


def test_a_chart_names_its_rows_and_its_axis(leaderboard: Any, tmp_path: Path) -> None:
    file = tmp_path / "chart.svg"
    assert leaderboard("--chart", str(file), "--axis", "effective").code == 0
    drawn = file.read_text(encoding="utf-8")
    assert all(f">{name}</text>" in drawn for name in ("snip", "random", "effective compression"))
    refused = leaderboard("--chart", str(file))
    assert (refused.code, "exists; add --force" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--chart", "a.docx"], "no chart has the suffix of 'a.docx'"),
        (["--axis", "effective"], "--axis has no effect without --chart"),
        (["--chart", "a.svg", "--format", "html"], "--chart draws only the boards"),
        (["--chart", "a.svg", "--check", "b.md"], "--check writes nothing"),
        (["--format", "html", "--check", "site"], "--check compares one file"),
        (["--format", "html", "--output", "/dev/null/site"], "cannot write '/dev/null/site'"),
    ],
)
def test_what_cannot_be_done_is_one_line(leaderboard: Any, arguments: list[str], said: str) -> None:
    done = leaderboard(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_a_folder_is_no_file_for_other_formats(leaderboard: Any, tmp_path: Path) -> None:
    done = leaderboard("--format", "markdown", "--output", str(tmp_path), "--force")
    assert (done.code, "is a folder; name a file" in done.err) == (2, True)


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "html"])
@pytest.mark.parametrize("kind", ["failed", "dense"])
def test_a_chart_of_nothing_is_one_line(
    invoke: Any, make_record: Any, tmp_path: Path, kind: str, suffix: str
) -> None:
    store = Store(tmp_path / "results")
    store.put(make_record(seed=0, status="failed") if kind == "failed" else make_record("dense"))
    file = tmp_path / f"chart.{suffix}"
    done = invoke("leaderboard", "--results", str(store.root), "--chart", str(file))
    assert (done.code, done.out, file.exists()) == (2, "", False)
    assert "no cell of a pruner has finished, so there is nothing to draw" in done.err
    assert done.err.count("\n") == 1


def test_a_chart_against_effective_compression_that_no_record_has_is_one_line(
    invoke: Any, make_record: Any, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    store.put(make_record())
    chart = ("--chart", str(tmp_path / "chart.png"), "--axis", "effective")
    done = invoke("leaderboard", "--results", str(store.root), *chart)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "effective compression" in done.err
