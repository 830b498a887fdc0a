"""`synflow-bench results export|import|verify|merge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Store


@pytest.fixture
def results(tmp_path: Path, make_record: Any) -> Path:
    store = Store(tmp_path / "results")
    for seed in range(2):
        store.put(make_record("snip", seed=seed))
        store.put(make_record("nobody-has-this", seed=seed))
    return store.root


@pytest.fixture
def archive(invoke: Any, results: Path, tmp_path: Path) -> str:
    file = str(tmp_path / "a.tar.gz")
    assert invoke("results", "export", file, "--results", str(results)).code == 0
    return file


def test_records_travel_from_folder_to_folder(
    invoke: Any, archive: str, results: Path, tmp_path: Path
) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"))
    assert (done.code, done.out) == (0, "4 taken, 0 replaced\n")
    assert list(Store(tmp_path / "new")) == list(Store(results))
    again = invoke("results", "import", archive, "--results", str(tmp_path / "new"))
    assert (again.code, again.out) == (0, "0 taken, 0 replaced, 4 already here\n")


def test_pruners_that_are_not_installed_are_named_and_taken(
    invoke: Any, archive: str, tmp_path: Path
) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"))
    assert "not installed here: nobody-has-this (2)" in done.err
    assert invoke("leaderboard", "--results", str(tmp_path / "new")).code == 0


def test_a_conflict_is_reported_and_ours_stays_without_force(
    invoke: Any, archive: str, tmp_path: Path, make_record: Any
) -> None:
    store = Store(tmp_path / "new")
    store.put(make_record("snip", seed=0, top1=0.1))
    done = invoke("results", "import", archive, "--results", str(store.root))
    assert (done.code, done.out) == (1, "3 taken, 0 replaced, 1 in conflict\n")
    assert "differs from ours: ours stays, unless --force is given" in done.err
    assert store.get(make_record("snip").cell).metrics.test_top1 == 0.1  # type: ignore[union-attr]
    forced = invoke("results", "import", archive, "--results", str(store.root), "--force")
    assert (forced.code, forced.out) == (0, "1 taken, 1 replaced, 3 already here, 1 in conflict\n")


def test_a_dry_run_writes_nothing(invoke: Any, archive: str, tmp_path: Path) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"), "--dry-run")
    assert (done.code, done.out) == (0, "4 would be taken, 0 would be replaced\n")
    assert not (tmp_path / "new").exists()


def test_a_dry_run_by_force_says_what_would_be_replaced(
    invoke: Any, archive: str, tmp_path: Path, make_record: Any
) -> None:
    store = Store(tmp_path / "new")
    path = store.put(make_record("snip", seed=0, top1=0.1))
    before = path.read_bytes()
    command = ("results", "import", archive, "--results", str(store.root), "--force")
    dry = invoke(*command, "--dry-run")
    assert dry.out == "4 would be taken, 1 would be replaced, 1 in conflict\n"
    assert "differs from ours: would be taken in place of ours" in dry.err
    assert path.read_bytes() == before
    assert json.loads(invoke(*command, "--dry-run", "--json").out)["would_be_taken"] == 4
    done = invoke(*command)
    assert (done.out, "differs from ours: taken in" in done.err) == (
        "4 taken, 1 replaced, 1 in conflict\n",
        True,
    )


def test_a_key_in_two_files_is_neither_exported_nor_ranked(
    invoke: Any, results: Path, tmp_path: Path
) -> None:
    path = Store(results).paths()[0]
    copy = path.parent.with_name("elsewhere") / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    for words in (("results", "export", str(tmp_path / "b.tar.gz")), ("leaderboard",)):
        refused = invoke(*words, "--results", str(results))
        assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
        assert all(repr(str(each)) in refused.err for each in (path, copy))
    assert not (tmp_path / "b.tar.gz").exists()


def test_dense_records_under_another_name_are_neither_valid_nor_ranked(
    invoke: Any, tmp_path: Path, make_record: Any
) -> None:
    store = Store(tmp_path / "results")
    record = make_record("miracle", 2)
    path = store.put(record)
    text = (
        path.read_text().replace('"kept": 429000', '"kept": 858000').replace('"density": 0.5', '"density": 1')
    )
    path.write_text(text)
    verified = invoke("results", "verify", str(store.root))
    assert (verified.code, verified.out) == (1, "0 valid, 1 refused\n")
    ranked = invoke("leaderboard", "--results", str(store.root))
    assert (ranked.code, ranked.out, ranked.err.count("\n")) == (2, "", 1)
    for said in (verified.err, ranked.err):
        assert "858000 of 858000 weights are kept, where compression 2 asks for 429000" in said


def test_merging_makes_a_folder_and_refuses_one_that_exists(
    invoke: Any, results: Path, archive: str, tmp_path: Path
) -> None:
    output = str(tmp_path / "merged")
    done = invoke("results", "merge", str(results), archive, "--output", output)
    assert (done.code, done.out) == (0, "4 taken, 0 replaced\n")
    refused = invoke("results", "merge", str(results), "--output", output)
    assert (refused.code, "exists; add --force" in refused.err) == (2, True)
    added = invoke("results", "merge", str(results), "--output", output, "--force")
    assert (added.code, added.out) == (0, "0 taken, 0 replaced, 4 already here\n")


def test_verifying_finds_each_fault(invoke: Any, results: Path) -> None:
    good = invoke("results", "verify", "--results", str(results))
    assert (good.code, good.out) == (0, "4 valid\n")
    path = Store(results).paths()[0]
    path.write_text(path.read_text().replace('"fc1"', "7"))
    bad = invoke("results", "verify", "--results", str(results))
    assert (bad.code, bad.out) == (1, "3 valid, 1 refused\n")
    assert str(path) in bad.err
    assert invoke("results", "verify", str(results), "--json").code == 1


def test_the_outcome_can_be_json(invoke: Any, archive: str, tmp_path: Path) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"), "--json")
    outcome = json.loads(done.out)
    assert (outcome["taken"], len(outcome["new"]), outcome["unknown_pruners"]) == (
        4,
        4,
        {"nobody-has-this": 2},
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "{archive}", "--results", "{results}"], "exists; add --force"),
        (["export", "{tmp}/b.tar.gz", "--results", "{tmp}/nowhere"], "no records in"),
        (["export", "{tmp}/b.tar.gz", "--results", "{results}", "--pruner", "snp"], "did you mean 'snip'?"),
        (["export", "/dev/null/b.tar.gz", "--results", "{results}"], "cannot write"),
        (["import", "{tmp}/nowhere.tar.gz"], "is not there"),
        (["verify", "{tmp}/nowhere"], "is not there"),
        (["verify", "--results", "{tmp}/empty"], "no records in"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(
    invoke: Any, results: Path, archive: str, tmp_path: Path, arguments: list[str], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    names = {"archive": archive, "results": results, "tmp": tmp_path}
    done = invoke("results", *(word.format(**names) for word in arguments))
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
