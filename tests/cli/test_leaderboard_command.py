"""`synflow-bench leaderboard`: printing, writing, and checking what was committed."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from synflow_bench.records import Store


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, make_record: Callable[..., Any]) -> Path:
    """A results folder with three seeds of three pruners and the dense network."""
    store = Store(tmp_path_factory.mktemp("template"))
    for seed in range(3):
        store.put(make_record("dense", seed=seed, top1=0.97))
        for height, pruner in enumerate(("random", "snip", "synflow[rounds=10]")):
            for compression in (2, 5, 10, 20, 50):
                store.put(make_record(pruner, compression, seed, 0.5 + height / 10 + seed / 100))
    return store.root


@pytest.fixture
def results(tmp_path: Path, template: Path) -> Path:
    """A copy of `template` that a test may damage."""
    return Path(copytree(template, tmp_path / "results"))


@pytest.fixture
def leaderboard(invoke: Callable[..., Any], results: Path) -> Callable[..., Any]:
    """Run the command on `results`."""
    return lambda *arguments: invoke("leaderboard", "--results", str(results), *arguments)


def test_a_table_is_printed_on_stdout_alone(leaderboard: Any) -> None:
    done = leaderboard()
    assert (done.code, done.err) == (0, "")
    assert "digits / fc" in done.out
    assert "synflow[rounds=10]" in done.out
    assert "prune s" not in done.out


def test_details_are_printed_on_request(leaderboard: Any) -> None:
    assert "prune s" in leaderboard("--details").out


def test_a_written_file_is_reported_on_stderr(leaderboard: Any, tmp_path: Path) -> None:
    done = leaderboard("--output", str(tmp_path / "board.md"))
    assert (done.code, done.out) == (0, "")
    assert done.err == f"wrote '{tmp_path}/board.md'\n"


def test_csv_has_one_line_per_seed_on_request(leaderboard: Any, tmp_path: Path) -> None:
    lines = list(csv.DictReader(io.StringIO(leaderboard("--format", "csv", "--per-seed").out)))
    assert len(lines) == 3 + 3 * 3 * 5
    assert lines[0]["test_top1"] == "0.97"
    file = tmp_path / "seeds.csv"
    leaderboard("--output", str(file), "--per-seed")
    file.write_text(file.read_text() + "old")
    stale = leaderboard("--check", str(file), "--per-seed")
    assert "--per-seed" in stale.err


def test_machine_formats_can_be_read_from_stdout(leaderboard: Any) -> None:
    (board,) = json.loads(leaderboard("--format", "json").out)
    assert [row["label"] for row in board["rows"]] == ["dense", "synflow[rounds=10]", "snip", "random"]
    assert len(list(csv.DictReader(io.StringIO(leaderboard("--format", "csv").out)))) == 16


def test_the_environment_names_the_results(
    invoke: Any, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFLOW_BENCH_RESULTS", str(results))
    assert "digits / fc" in invoke("leaderboard").out


@pytest.mark.parametrize("suffix", ["txt", "md", "tex", "csv", "json", "html"])
def test_what_was_written_is_fresh_until_the_records_change(
    leaderboard: Any, results: Path, tmp_path: Path, make_record: Any, suffix: str
) -> None:
    file = tmp_path / f"board.{suffix}"
    assert leaderboard("--output", str(file)).code == 0
    fresh = leaderboard("--check", str(file))
    assert (fresh.code, fresh.out, fresh.err) == (0, "", "")
    Store(results).put(make_record("grasp", 10, 0, 0.9))
    stale = leaderboard("--check", str(file))
    assert stale.code == 1
    assert stale.out == ""


def test_a_stale_file_is_reported_with_its_first_difference_and_a_command_that_fixes_it(
    leaderboard: Any, invoke: Any, tmp_path: Path
) -> None:
    file = tmp_path / "a board.md"
    options = ["--pruner", "snip", "--dataset", "digits", "--model", "fc"]
    leaderboard("--output", str(file), *options)
    file.write_text(file.read_text().replace("| snip ", "| snap ", 1))
    stale = leaderboard("--check", str(file), *options)
    assert stale.err.count("\n") == 1
    assert "line 14 has '| snap" in stale.err
    assert "the records give '| snip" in stale.err
    command = shlex.split(stale.err.split("regenerate: ")[1])
    assert command[0] == "synflow-bench"
    assert invoke(*command[1:]).code == 0
    assert leaderboard("--check", str(file), *options).code == 0


def test_a_file_that_is_cut_short_is_stale_and_a_missing_one_is_refused(
    leaderboard: Any, tmp_path: Path
) -> None:
    file = tmp_path / "board.csv"
    leaderboard("--check", str(file)).assert_refused("board.csv", "is not there")
    leaderboard("--output", str(file))
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    short = leaderboard("--check", str(file))
    assert short.code == 1
    assert "line 4 has ''" in short.err


def test_a_check_reads_bytes_so_that_other_line_ends_are_stale(leaderboard: Any, tmp_path: Path) -> None:
    file = tmp_path / "board.csv"
    leaderboard("--output", str(file))
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert leaderboard("--check", str(file)).code == 1


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json", "html"])
def test_a_file_that_is_no_board_is_named_without_a_command_that_writes_over_it(
    leaderboard: Any, tmp_path: Path, form: str
) -> None:
    for file, text in (("README.md", "# A project\n"), ("a.html", "<title>Mine</title>"), ("a.json", "[]")):
        (tmp_path / file).write_text(text)
        checked = leaderboard("--format", form, "--check", str(tmp_path / file))
        code = (
            2 if form == "html" and file != "a.html" else 1
        )  # pages with other suffixes are a site's folder
        assert (checked.code, checked.out, checked.err.count("\n")) == (code, "", 1)
        assert file in checked.err
        assert "--output" not in checked.err


def test_a_page_is_not_printed_on_a_terminal(leaderboard: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert leaderboard("--format", "html").out.startswith("<!doctype html>")
    monkeypatch.setattr("synflow_bench.cli.leaderboard.sys.stdout.isatty", lambda: True)
    leaderboard("--format", "html").assert_refused("--output")


def test_a_check_writes_nothing(leaderboard: Any, tmp_path: Path) -> None:
    (tmp_path / "board.md").write_text("old")
    leaderboard("--check", str(tmp_path / "board.md"))
    assert (tmp_path / "board.md").read_text() == "old"


def test_a_format_that_is_given_counts_more_than_the_suffix(leaderboard: Any, tmp_path: Path) -> None:
    file = tmp_path / "README"
    assert leaderboard("--output", str(file)).code == 2
    assert leaderboard("--output", str(file), "--format", "markdown").code == 0
    assert file.read_text().startswith("# Leaderboard")
    assert leaderboard("--check", str(file), "--format", "markdown").code == 0


def test_an_existing_file_is_written_over_only_by_force(leaderboard: Any, tmp_path: Path) -> None:
    file = tmp_path / "board.md"
    file.write_text("mine")
    refused = leaderboard("--output", str(file))
    assert (refused.code, "exists; add --force" in refused.err) == (2, True)
    assert file.read_text() == "mine"
    assert leaderboard("--output", str(file), "--force").code == 0
    assert "# Leaderboard" in file.read_text()


def test_the_choice_of_rows(leaderboard: Any) -> None:
    (board,) = json.loads(leaderboard("--format", "json", "--pruner", "synflow", "--pruner", "random").out)
    assert [row["label"] for row in board["rows"]] == ["dense", "synflow[rounds=10]", "random"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--check", "a.md", "--output", "b.md"], "--check writes nothing"),
        (["--check", "a.md", "--force"], "--force has no effect"),
        (["--force"], "--force has no effect without --output"),
        (["--output", "board.docx"], "use one of .txt, .md, .tex, .csv, .json, .html"),
        (["--pruner", "synflw"], "unknown recorded pruner 'synflw'; did you mean 'synflow'?"),
        (["--dataset", "digit"], "unknown recorded dataset 'digit'; did you mean 'digits'?"),
        (["--model", "f"], "unknown recorded model 'f'"),
        (["--format", "yaml"], "'yaml'"),
        (["--margin", "nan"], "not nan"),
        (["--margin", "-1"], "not in the range"),
        (["--columns", ","], "names no column"),
        (["--columns", "10,ranc"], "unknown column 'ranc'; did you mean 'rank'?"),
        (["--columns", "7.5"], "unknown column '7.5'"),
        (["--kind", "ranks"], "--kind has no effect without --chart"),
        (["--chart", "c.svg", "--kind", "profiles"], "requires two settings"),
        (["--chart", "c.svg", "--kind", "ranks", "--axis", "effective"], "no axis 'effective'"),
        (["--chart", "c.svg", "--kind", "ranks", "--budget", "2"], "no budget"),
        (["--chart", "c.svg", "--kind", "cost", "--budget", "2"], "no budget"),
        (["--chart", "c.svg", "--at", "10"], "not at one compression"),
        (["--chart", "c.svg", "--kind", "cost", "--at", "7"], "unknown compression with costs '7'"),
        (["--chart", "c.svg", "--budget", "0.001"], "no row costs at most 0.001"),
        (["--budget", "2"], "--budget has no effect without --chart"),
        (["--per-seed"], "add --format csv, or leave out --per-seed"),
        (["--details", "--format", "markdown"], "--details is for the table in a terminal"),
        (["--details", "--output", "board.txt"], "--details is for the table in a terminal"),
        (["--output", "/dev/null/board.md"], "cannot write '/dev/null/board.md'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    leaderboard: Any, arguments: list[str], said: str
) -> None:
    done = leaderboard(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_an_empty_folder_says_how_to_fill_it(invoke: Any, tmp_path: Path) -> None:
    done = invoke("leaderboard", "--results", str(tmp_path / "nowhere"))
    assert (done.code, done.out) == (2, "")
    assert "no records in" in done.err
    assert "`synflow-bench run --all`" in done.err


@pytest.mark.parametrize("file", ["board.md", "board.json", "board.csv", "board.html", "site"])
def test_a_damaged_record_is_named_and_left_out(
    leaderboard: Any, results: Path, tmp_path: Path, file: str
) -> None:
    path = Store(results).paths()[0]
    path.write_text(path.read_text()[:100])
    form = ["--format", "html"] if file == "site" else []
    done = leaderboard("--output", str(tmp_path / file), *form)
    assert done.code == 1
    assert "unreadable record" in done.err
    assert str(path) in done.err
    assert (tmp_path / file).exists()


def test_without_any_valid_record_there_is_no_leaderboard(
    leaderboard: Any, results: Path, tmp_path: Path
) -> None:
    paths = Store(results).paths()
    for path in paths:
        path.write_text("{}")
    done = leaderboard("--output", str(tmp_path / "board.md"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert str(paths[0]) in done.err
    assert not (tmp_path / "board.md").exists()


def test_a_folder_of_another_schema_is_refused(leaderboard: Any, results: Path) -> None:
    (results / "store.json").write_text('{"schema": 2}')
    done = leaderboard()
    assert (done.code, "records of schema 2" in done.err) == (2, True)


@pytest.mark.parametrize("form", ["table", "html"])
def test_it_loads_no_torch_and_no_numpy(launch: Any, results: Path, form: str) -> None:
    code = """
import sys
from synflow_bench.cli import main
assert main(sys.argv[1:]) == 0
assert not {"torch", "numpy", "scipy"} & sys.modules.keys()
"""
    done = launch("leaderboard", "--results", str(results), "--format", form, code=code)
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    "named", ["10,AUC,rank", "10.0,auc,RANK", "1e1, Auc,rank", "10x,auc,rank", "10,auc,#"]
)
def test_columns_may_be_written_as_a_person_would(leaderboard: Any, named: str) -> None:
    done = leaderboard("--format", "markdown", "--columns", named)
    assert done.code == 0, done.err
    heading = next(line for line in done.out.splitlines() if "pruner" in line)
    assert [cell.strip() for cell in heading.strip("|").split("|")] == ["pruner", "10", "AUC", "rank"]


def test_the_cost_is_a_column_by_its_short_heading(leaderboard: Any) -> None:
    short, long = (leaderboard("--format", "markdown", "--columns", name) for name in ("cost", "AUC cost"))
    assert (short.code, short.out) == (0, long.out)


def test_a_chart_of_ranks_is_drawn_of_one_board(leaderboard: Any, results: Path, make_record: Any) -> None:
    file = results.parent / "ranks.svg"
    assert leaderboard("--chart", str(file), "--kind", "ranks").code == 0
    assert "random" in file.read_text(encoding="utf-8")
    other = Store(results).results()[0].cell.setting.model_copy(update={"dataset": "mnist"})
    Store(results).put(make_record("snip", 10, 0, 0.5, setting=other))
    done = leaderboard("--chart", str(file), "--kind", "ranks", "--force")
    assert (done.code, "choose one with --dataset and --model" in done.err) == (2, True)
    assert leaderboard("--chart", str(file), "--kind", "ranks", "--force", "--dataset", "digits").code == 0


def test_a_chart_of_ranks_of_boards_of_one_title_is_left_to_python(
    leaderboard: Any, results: Path, make_record: Any
) -> None:
    setting = Store(results).results()[0].cell.setting
    recipe = setting.recipe.model_copy(update={"lr": 0.5})
    Store(results).put(make_record("snip", 10, 0, 0.5, setting=setting.model_copy(update={"recipe": recipe})))
    done = leaderboard("--chart", str(results.parent / "ranks.svg"), "--kind", "ranks")
    assert (done.code, "choose one from Python, with leaderboard.chart('" in done.err) == (2, True)


def test_charts_of_cost_and_within_a_budget_are_drawn(leaderboard: Any, results: Path) -> None:
    file = results.parent / "cost.svg"
    assert leaderboard("--chart", str(file), "--kind", "cost").code == 0
    assert "cost (dense trainings)" in file.read_text(encoding="utf-8")
    assert leaderboard("--chart", str(file), "--budget", "1", "--force").code == 0
    assert "at most 1 dense training" in file.read_text(encoding="utf-8")


def test_settings_that_differ_in_a_tuned_value_share_a_board(
    leaderboard: Any, results: Path, make_record: Any
) -> None:
    tune = ("--tune", "lr=0.1|0.3")
    done = leaderboard(*tune)
    assert (done.code, "no two settings differ only in lr" in done.err) == (2, True)
    setting = Store(results).results()[0].cell.setting
    recipe = setting.recipe.model_copy(update={"lr": 0.3})
    other = setting.model_copy(update={"recipe": recipe})
    Store(results).put(make_record("snip", 10, 0, 0.5, setting=other))
    done = leaderboard(*tune, "--format", "markdown")
    assert (done.code, done.out.count("(lr tuned)")) == (0, 1)
    file = results.parent / "board.md"
    assert leaderboard(*tune, "--output", str(file)).code == 0
    assert leaderboard(*tune, "--check", str(file)).code == 0
    stale = leaderboard("--check", str(file), "--tune", "lr=0.3|0.1")
    assert (stale.code, "--tune 'lr=0.3|0.1'" in stale.err) == (1, True)
