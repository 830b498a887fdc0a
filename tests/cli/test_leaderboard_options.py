"""`synflow-bench leaderboard`: baselines, definitions, published numbers, raw records; every change shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Store


@pytest.fixture
def results(tmp_path: Path, make_record: Callable[..., Any]) -> Path:
    """Three seeds of two pruners and the dense network."""
    store = Store(tmp_path / "results")
    for seed in range(3):
        store.put(make_record("dense", seed=seed, top1=0.97))
        for height, pruner in enumerate(("random", "snip")):
            for compression in (2, 5, 10, 20, 50):
                store.put(make_record(pruner, compression, seed, 0.5 + height / 10 + seed / 100))
    return store.root


@pytest.fixture
def leaderboard(invoke: Callable[..., Any], results: Path) -> Callable[..., Any]:
    return lambda *arguments: invoke("leaderboard", "--results", str(results), *arguments)


def test_a_baseline_is_in_the_board_and_in_the_command_that_fixes_it(
    leaderboard: Any, tmp_path: Path
) -> None:
    (board,) = json.loads(leaderboard("--format", "json", "--baseline", "random").out)
    snip = next(row for row in board["rows"] if row["label"] == "snip")
    assert snip["points"][0]["to_baseline"]["mean"] == pytest.approx(0.1)
    (tmp_path / "board.md").write_text("# Leaderboard\n\nold")
    stale = leaderboard("--baseline", "random", "--check", str(tmp_path / "board.md"))
    assert "--baseline random" in stale.err


def test_chosen_columns_are_all_that_a_table_shows(leaderboard: Any, tmp_path: Path) -> None:
    for form in ("table", "markdown", "latex"):
        text = leaderboard("--format", form, "--columns", "50, 5,AUC").out
        assert "prune s" not in text
        assert "critical" not in text.split("Definitions")[0].split("made of")[0]
    head = next(
        line
        for line in leaderboard("--format", "markdown", "--columns", "50,5,AUC").out.splitlines()
        if line.startswith("| pruner")
    )
    assert [cell.strip() for cell in head.strip("|").split("|")] == ["pruner", "50", "5", "AUC"]
    assert leaderboard("--columns", "50,50,AUC").out == leaderboard("--columns", "50,AUC").out
    (tmp_path / "board.tex").write_text(leaderboard("--format", "latex").out)
    stale = leaderboard("--columns", "50,AUC", "--check", str(tmp_path / "board.tex"))
    assert "--columns 50,AUC" in stale.err


def test_the_margin_of_equivalence_is_in_points(leaderboard: Any) -> None:
    def standings(*options: str) -> set[str]:
        (board,) = json.loads(leaderboard("--format", "json", *options).out)
        return {point["standing"] for row in board["rows"] for point in row["points"] if row["rank"]}

    assert standings() == {"best", "worse"}
    assert standings("--margin", "15") == {"best", "equivalent"}
    assert "equivalent: within 15 points" in " ".join(leaderboard("--margin", "15", "--details").out.split())


def test_ranks_are_in_json_and_on_the_table(leaderboard: Any) -> None:
    (board,) = json.loads(leaderboard("--format", "json").out)
    assert {row["label"]: row["rank"] for row in board["rows"]} == {"dense": None, "snip": 1, "random": 2}
    assert "rank: 1 for the largest AUC" in " ".join(leaderboard("--details").out.split())


@pytest.mark.parametrize("form", ["md", "txt", "tex", "csv", "json", "html"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"test_top1": 0.52', '"test_top1": 0.519999999'),
        ('"val_top1": 0.52', '"val_top1": 0.53'),
        ('"epoch": 1,', '"epoch": 2,'),
        ('"torch": "2.9.0"', '"torch": "2.9.1"'),
    ],
    ids=["accuracy", "another metric", "curve", "provenance"],
)
def test_a_check_fails_when_anything_in_one_record_changes(
    leaderboard: Any, results: Path, tmp_path: Path, form: str, old: str, new: str
) -> None:
    file = str(tmp_path / f"board.{form}")
    assert leaderboard("--output", file).code == 0
    assert leaderboard("--check", file).code == 0
    path = next(path for path in Store(results).paths() if old in path.read_text())
    path.write_text(path.read_text().replace(old, new, 1))
    assert leaderboard("--check", file).code == 1


def test_explaining_needs_no_records(invoke: Any) -> None:
    everything = invoke("leaderboard", "--explain")
    assert everything.code == 0
    assert everything.out.count("\n") > 25
    one = invoke("leaderboard", "--explain", "rank")
    assert one.out.startswith("rank: One plus the number of rows")
    assert json.loads(invoke("leaderboard", "--explain", "rank", "--format", "json").out).keys() == {"rank"}


def test_published_numbers_are_shown_alone_where_there_are_no_records(invoke: Any, tmp_path: Path) -> None:
    done = invoke("leaderboard", "--published", "--results", str(tmp_path / "nowhere"))
    assert (done.code, done.err) == (0, "")
    assert done.out.count("not ranked with ours") == 12
    few = invoke("leaderboard", "--published", "--dataset", "cifar10", "--results", str(tmp_path / "nowhere"))
    assert few.out.count("not ranked with ours") == 4


def test_published_numbers_of_other_settings_stay_away_from_our_boards(leaderboard: Any) -> None:
    assert "not ranked with ours" not in leaderboard("--published").out


def test_raw_records_go_to_a_file(leaderboard: Any, tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    file = tmp_path / "records.parquet"
    assert leaderboard("--output", str(file), "--pruner", "snip").code == 0
    assert pq.read_table(file).num_rows == 3 + 15
    assert leaderboard("--output", str(file)).code == 2
    assert leaderboard("--output", str(file), "--force").code == 0
    assert pq.read_table(file).num_rows == 3 + 30


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--baseline", "snp"], "unknown recorded row 'snp'; did you mean 'snip'?"),
        (["--explain", "rnk"], "unknown number 'rnk'; did you mean 'rank'?"),
        (["--explain", "rank", "--published"], "--explain reads no records"),
        (["--format", "parquet"], "name a file with --output"),
        (["--check", "a.parquet"], "--check compares text"),
        (["--output", "a.parquet", "--baseline", "snip"], "leave out --baseline"),
        (["--columns", "AUX"], "unknown column 'AUX'; did you mean 'AUC'?"),
        (["--columns", "AUC", "--format", "csv"], "--columns chooses columns of tables"),
        (["--chart", "a.svg", "--margin", "2"], "--chart draws only the boards; leave out --margin"),
        (["--check", "a.md", "--chart", "a.svg"], "--check writes nothing; leave out --chart"),
        (["--axis", "effective"], "--axis has no effect without --chart"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    leaderboard: Any, arguments: list[str], said: str
) -> None:
    done = leaderboard(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1


def test_one_seed_is_called_preliminary_without_ranks(invoke: Any, tmp_path: Path, make_record: Any) -> None:
    Store(tmp_path / "one").put(make_record())
    done = invoke("leaderboard", "--results", str(tmp_path / "one"))
    assert done.code == 0
    assert "preliminary: fewer than 3 seeds" in done.out
    assert "too little for ranks" in " ".join(done.out.split())
