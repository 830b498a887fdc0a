"""`synflow-bench show`: a record, or the description of an installed name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Failure, Record, Store

Run = Callable[..., Any]
MakeRecord = Callable[..., Record]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The default results folder."""
    monkeypatch.setenv("SYNFLOW_BENCH_RESULTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return Store(tmp_path)


def failed(record: Record, failure: Failure) -> Record:
    return record.model_copy(update={"status": "failed", "metrics": None, "error": failure})


def test_a_record_is_shown_in_full(invoke: Run, store: Store, make_record: MakeRecord) -> None:
    record = make_record("synflow[rounds=10]", 10, top1=0.8125, collapsed_layers=("fc3",))
    store.put(record)
    outcome = invoke("show", record.key)
    assert (outcome.code, outcome.err) == (0, "")
    for fact in (
        "digits / fc / synflow[rounds=10] / compression 10 / seed 0",
        record.key,
        "pruner.parameters.rounds",
        "0.8125",
        "fc3",
        "1100x780",
        "0.1000",
        "train_seconds",
        "2000-01-01T00:00:00Z",
        "81.25",
    ):
        assert fact in outcome.out


def test_the_first_characters_of_a_key_are_enough(invoke: Run, store: Store, make_record: MakeRecord) -> None:
    record = make_record()
    store.put(record)
    assert invoke("show", record.key[:5]).out == invoke("show", record.key).out


def test_json_is_the_stored_record(invoke: Run, store: Store, make_record: MakeRecord) -> None:
    path = store.put(make_record())
    assert invoke("show", make_record().key, "--json").out == path.read_text()


def test_a_failure_is_shown_with_its_type_its_line_and_its_traceback(
    invoke: Run, store: Store, make_record: MakeRecord
) -> None:
    traceback = 'Traceback:\n  File "/lab/mine.py", line 7, in score\n    [x] boom'
    record = make_record()
    store.put(failed(record, Failure(kind="ValueError", message="no [bold]luck[/]", traceback=traceback)))
    out = invoke("show", record.key).out
    for fact in ("failed", "ValueError", "no [bold]luck[/]", "mine.py:7", "    [x] boom"):
        assert fact in out


def test_a_handled_failure_has_no_line(invoke: Run, store: Store, make_record: MakeRecord) -> None:
    record = make_record(status="failed")
    store.put(record)
    out = invoke("show", record.key).out
    assert "ScoreError" in out
    assert "raised at" not in out


def test_a_record_cannot_control_the_terminal(invoke: Run, store: Store, make_record: MakeRecord) -> None:
    record = make_record(label="evil\x1b[2J")
    failure = Failure(kind="ValueError", message="\x1b[2J", traceback="\x1b]0;title\x07\nboom")
    store.put(failed(record, failure))
    out = invoke("show", record.key).out
    assert "boom" in out
    assert "\x1b" not in out


def test_the_description_of_a_pruner_has_its_formula_its_paper_and_its_parameters(invoke: Run) -> None:
    outcome = invoke("show", "synflow")
    assert outcome.code == 0
    first, *rest = outcome.out.splitlines()
    assert first.startswith("pruner synflow, synflow-bench ")
    assert "|w dR/d|w||" in outcome.out
    assert "arXiv 2006.05467" in outcome.out
    assert rest[-1].split() == ["Defaults:", "rounds=100"]


def test_the_description_in_a_plugin_file_is_its_docstring(invoke: Run, mine: Path) -> None:
    out = invoke("show", "mine", "--plugin", str(mine)).out
    assert "lab_mine.py sha256:" in out
    assert "The score is |w|^p." in out
    assert "power=1" in out


@pytest.mark.parametrize("name", ["fc", "digits", "quick", "serial", "csv"])
def test_every_kind_of_name_has_a_description(invoke: Run, name: str) -> None:
    (shown,) = json.loads(invoke("show", name, "--json").out)
    assert shown["name"] == name
    assert len(shown["text"]) > 20
    assert shown["text"].splitlines()[0] in invoke("show", name).out


def test_a_name_of_two_kinds_is_shown_twice(distribution: Any, invoke: Run) -> None:
    distribution(
        "both",
        """
        class Both:
            'One thing.'
        def build():
            'Another thing.'
        @hookimpl
        def synflow_bench_pruners(): return {"both": Both}
        @hookimpl
        def synflow_bench_models(): return {"both": build}
        """,
    )
    shown = json.loads(invoke("show", "both", "--json").out)
    assert [(each["kind"], each["text"]) for each in shown] == [
        ("pruner", "One thing."),
        ("model", "Another thing."),
    ]


def test_an_unknown_name_suggests_an_installed_one(invoke: Run, store: Store) -> None:
    invoke("show", "synflw").assert_refused("'synflw'", "'synflow'")


@pytest.mark.parametrize("arguments", [["0123"], ["0123", "--json"], ["xyzzy"]])
def test_an_unknown_key_is_one_line(invoke: Run, store: Store, arguments: list[str]) -> None:
    invoke("show", *arguments).assert_refused(repr(arguments[0]), "synflow-bench results list")


def test_a_key_of_several_records_is_one_line(invoke: Run, store: Store, make_record: MakeRecord) -> None:
    for seed in range(20):
        store.put(make_record(seed=seed))
    keys = [path.stem[0] for path in store.paths()]
    first = max(keys, key=keys.count)
    invoke("show", first).assert_refused(repr(first), str(keys.count(first)))
