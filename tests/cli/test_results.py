"""`synflow-bench results`: records are listed, exported, imported, merged and verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from synflow_bench.records import Failure, Record, Store

Run = Callable[..., Any]
MakeRecord = Callable[..., Record]


@pytest.fixture
def results(tmp_path: Path, make_record: MakeRecord) -> Path:
    """A folder with two records each of an installed pruner and of another one."""
    store = Store(tmp_path / "results")
    for seed in range(2):
        store.put(make_record("snip", seed=seed))
        store.put(make_record("nobody-has-this", seed=seed))
    return store.root


@pytest.fixture
def archive(invoke: Run, results: Path, tmp_path: Path) -> str:
    file = str(tmp_path / "a.tar.gz")
    assert invoke("results", "export", file, "--results", str(results)).code == 0
    return file


def counts(outcome: Any) -> dict[str, int]:
    """Read the counts that a command printed in its last line, such as `3 imported, 1 in conflict`."""
    parts = (part.split(maxsplit=1) for part in outcome.out.strip().split(", "))
    return {words: int(number) for number, words in parts}


def test_every_record_is_listed(invoke: Run, tmp_path: Path, make_record: MakeRecord) -> None:
    store = Store(tmp_path / "new")
    done, failed = make_record(top1=0.8125), make_record(seed=1, status="failed")
    for record in (failed, done):
        store.put(record)
    listing = ("results", "list", "--results", str(store.root))
    lines = invoke(*listing).out.splitlines()
    assert lines[0].split()[:3] == [done.key, "ok", "81.2"]
    assert lines[1].split()[:3] == [failed.key, "failed", "–"]
    assert lines[1].endswith("digits / fc / snip / compression 10 / seed 1")
    assert json.loads(invoke(*listing, "--json").out)[0] == {
        "key": done.key,
        "status": "ok",
        "cell": "digits / fc / snip / compression 10 / seed 0",
        "test_top1": 0.8125,
    }


def test_the_results_folder_is_that_of_the_environment(
    invoke: Run, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNFLOW_BENCH_RESULTS", str(results))
    assert len(invoke("results", "list").out.splitlines()) == 4


def test_a_folder_without_records_is_an_empty_list(invoke: Run, tmp_path: Path) -> None:
    listing = ("results", "list", "--results", str(tmp_path))
    assert json.loads(invoke(*listing, "--json").out) == []
    plain = invoke(*listing)
    assert (plain.code, plain.out) == (0, "")
    assert repr(str(tmp_path)) in plain.err


def test_a_title_cannot_control_the_terminal(invoke: Run, tmp_path: Path, make_record: MakeRecord) -> None:
    failure = Failure(kind="ValueError", message="\x1b[2J")
    changes = {"status": "failed", "metrics": None, "error": failure}
    made = make_record("snip", parameters={"mode": "evil\x1bc"}, label="snip[mode=evil\x1bc]")
    assert "\x1b" in made.cell.title
    Store(tmp_path).put(made.model_copy(update=changes))
    out = invoke("results", "list", "--results", str(tmp_path)).out
    assert "snip[mode=evil" in out
    assert "\x1b" not in out


def test_the_schema_describes_a_record(invoke: Run, make_record: MakeRecord) -> None:
    schema = json.loads(invoke("results", "schema").out)
    jsonschema.validate(json.loads(make_record().to_json()), schema)
    assert set(schema["properties"]) == {
        "schema" if name == "schema_version" else name for name in Record.model_fields
    }


def test_records_travel_from_folder_to_folder(
    invoke: Run, archive: str, results: Path, tmp_path: Path
) -> None:
    importing = ("results", "import", archive, "--results", str(tmp_path / "new"))
    done = invoke(*importing)
    assert (done.code, counts(done)) == (0, {"imported": 4, "replaced": 0})
    assert list(Store(tmp_path / "new")) == list(Store(results))
    again = invoke(*importing)
    assert (again.code, counts(again)) == (0, {"imported": 0, "replaced": 0, "already recorded": 4})


def test_records_of_unknown_pruners_are_imported_and_named(invoke: Run, archive: str, tmp_path: Path) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"))
    assert "nobody-has-this (2)" in done.err
    assert invoke("leaderboard", "--results", str(tmp_path / "new")).code == 0


def test_in_a_conflict_the_local_record_is_kept_unless_forced(
    invoke: Run, archive: str, tmp_path: Path, make_record: MakeRecord
) -> None:
    store = Store(tmp_path / "new")
    local = make_record("snip", seed=0, top1=0.1)
    store.put(local)
    importing = ("results", "import", archive, "--results", str(store.root))
    done = invoke(*importing)
    assert (done.code, counts(done)) == (1, {"imported": 3, "replaced": 0, "in conflict": 1})
    assert local.key in done.err
    assert "--force" in done.err
    assert store.get(local.cell) == local
    forced = invoke(*importing, "--force")
    expected = {"imported": 1, "replaced": 1, "already recorded": 3, "in conflict": 1}
    assert (forced.code, counts(forced)) == (0, expected)
    assert store.get(local.cell) != local


def test_a_dry_run_writes_nothing(invoke: Run, archive: str, tmp_path: Path) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"), "--dry-run")
    assert (done.code, counts(done)) == (0, {"would be imported": 4, "would be replaced": 0})
    assert not (tmp_path / "new").exists()


def test_a_forced_dry_run_says_what_would_be_replaced(
    invoke: Run, archive: str, tmp_path: Path, make_record: MakeRecord
) -> None:
    store = Store(tmp_path / "new")
    local = make_record("snip", seed=0, top1=0.1)
    path = store.put(local)
    before = path.read_bytes()
    importing = ("results", "import", archive, "--results", str(store.root), "--force")
    dry = invoke(*importing, "--dry-run")
    assert counts(dry) == {"would be imported": 4, "would be replaced": 1, "in conflict": 1}
    assert local.key in dry.err
    assert "would be imported" in dry.err
    assert path.read_bytes() == before
    assert json.loads(invoke(*importing, "--dry-run", "--json").out)["would_be_imported"] == 4
    done = invoke(*importing)
    assert counts(done) == {"imported": 4, "replaced": 1, "in conflict": 1}
    assert local.key in done.err
    assert "would" not in done.err


def test_a_key_in_two_files_is_neither_exported_nor_ranked(
    invoke: Run, results: Path, tmp_path: Path
) -> None:
    path = Store(results).paths()[0]
    copy = path.parent.with_name("elsewhere") / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    for words in (("results", "export", str(tmp_path / "b.tar.gz")), ("leaderboard",)):
        refused = invoke(*words, "--results", str(results))
        refused.assert_refused(*(repr(str(each)) for each in (path, copy)))
    assert not (tmp_path / "b.tar.gz").exists()


def test_dense_records_of_a_pruner_are_neither_valid_nor_ranked(
    invoke: Run, tmp_path: Path, make_record: MakeRecord
) -> None:
    store = Store(tmp_path / "new")
    path = store.put(make_record("miracle", 2))
    text = path.read_text().replace('"kept": 429000', '"kept": 858000')
    path.write_text(text.replace('"density": 0.5', '"density": 1'))
    verified = invoke("results", "verify", str(store.root))
    assert (verified.code, counts(verified)) == (1, {"valid": 0, "refused": 1})
    ranked = invoke("leaderboard", "--results", str(store.root))
    ranked.assert_refused()
    for message in (verified.err, ranked.err):
        assert "858000 of 858000" in message
        assert "429000" in message


def test_merging_makes_a_new_folder(invoke: Run, results: Path, archive: str, tmp_path: Path) -> None:
    output = str(tmp_path / "merged")
    done = invoke("results", "merge", str(results), archive, "--output", output)
    assert (done.code, counts(done)) == (0, {"imported": 4, "replaced": 0})
    invoke("results", "merge", str(results), "--output", output).assert_refused(output, "--force")
    added = invoke("results", "merge", str(results), "--output", output, "--force")
    assert (added.code, counts(added)) == (0, {"imported": 0, "replaced": 0, "already recorded": 4})


def test_records_on_which_sources_disagree_are_not_merged(
    invoke: Run, results: Path, tmp_path: Path, make_record: MakeRecord
) -> None:
    other = Store(tmp_path / "other")
    other.put(make_record("snip", seed=0, top1=0.1))
    done = invoke("results", "merge", str(results), str(other.root), "--output", str(tmp_path / "merged"))
    assert (done.code, counts(done)) == (1, {"imported": 3, "replaced": 0, "disputed": 1})
    assert make_record("snip", seed=0).key in done.err


def test_verifying_finds_an_invalid_record(invoke: Run, results: Path) -> None:
    good = invoke("results", "verify", "--results", str(results))
    assert (good.code, counts(good)) == (0, {"valid": 4})
    path = Store(results).paths()[0]
    path.write_text(path.read_text().replace('"fc1"', "7"))
    bad = invoke("results", "verify", "--results", str(results))
    assert (bad.code, counts(bad)) == (1, {"valid": 3, "refused": 1})
    assert str(path) in bad.err
    assert invoke("results", "verify", str(results), "--json").code == 1


def test_only_some_lines_are_printed_and_json_has_all(
    invoke: Run, tmp_path: Path, make_record: MakeRecord
) -> None:
    store = Store(tmp_path / "new")
    for seed in range(25):
        path = store.put(make_record(seed=seed))
        path.write_text("{}")
    bad = invoke("results", "verify", str(store.root))
    assert len(bad.err.splitlines()) == 21
    assert "5 more" in bad.err.splitlines()[-1]
    assert len(json.loads(invoke("results", "verify", str(store.root), "--json").out)["refused"]) == 25


def test_the_outcome_can_be_json(invoke: Run, archive: str, tmp_path: Path) -> None:
    done = invoke("results", "import", archive, "--results", str(tmp_path / "new"), "--json")
    outcome = json.loads(done.out)
    assert (outcome["imported"], len(outcome["new"])) == (4, 4)
    assert outcome["unknown_pruners"] == {"nobody-has-this": 2}


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["export", "{archive}", "--results", "{results}"], ["{archive}", "--force"]),
        (["export", "{tmp}/b.tar.gz", "--results", "{tmp}/nowhere"], ["{tmp}/nowhere", "--results"]),
        (["export", "{tmp}/b.tar.gz", "--results", "{results}", "--pruner", "snp"], ["'snp'", "'snip'"]),
        (["export", "/dev/null/b.tar.gz", "--results", "{results}"], ["/dev/null/b.tar.gz"]),
        (["import", "{tmp}/nowhere.tar.gz"], ["{tmp}/nowhere.tar.gz"]),
        (["import"], ["SOURCE"]),
        (["merge", "{results}"], ["--output"]),
        (["verify", "{tmp}/nowhere"], ["{tmp}/nowhere"]),
        (["verify", "--results", "{tmp}/empty"], ["{tmp}/empty"]),
    ],
)
def test_wrong_input_is_one_line(
    invoke: Run, results: Path, archive: str, tmp_path: Path, arguments: list[str], facts: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    names = {"archive": archive, "results": results, "tmp": tmp_path}
    outcome = invoke("results", *(word.format(**names) for word in arguments))
    outcome.assert_refused(*(fact.format(**names) for fact in facts))
