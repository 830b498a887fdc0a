"""`synflow-bench show` and `results`: one record readable, all records listed, their layout described."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from synflow_bench.records import Failure, Record, Store

ESCAPE = "\x1b"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """The default results folder of this test."""
    monkeypatch.setenv("SYNFLOW_BENCH_RESULTS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    return Store(tmp_path)


def test_show_tells_everything_about_a_record(
    invoke: Any, store: Store, make_record: Callable[..., Any]
) -> None:
    record = make_record("synflow[rounds=10]", 10, top1=0.8125, collapsed_layers=("fc3",))
    store.put(record)
    done = invoke("show", record.key)
    assert (done.code, done.err) == (0, "")
    for said in (
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
        assert said in done.out


def test_the_beginning_of_a_key_is_enough(invoke: Any, store: Store, make_record: Any) -> None:
    record = make_record()
    store.put(record)
    assert invoke("show", record.key[:5]).out == invoke("show", record.key).out


def test_show_prints_the_stored_record_as_json(invoke: Any, store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    assert invoke("show", make_record().key, "--json").out == path.read_text()


def test_a_failure_is_shown_with_its_traceback(invoke: Any, store: Store, make_record: Any) -> None:
    failure = Failure(kind="ValueError", message="no [bold]luck[/]", traceback="Traceback:\n  [x] boom")
    store.put(make_record(status="failed").model_copy(update={"error": failure}))
    out = invoke("show", make_record(status="failed").key).out
    assert "failed" in out
    assert "no [bold]luck[/]" in out
    assert "  [x] boom" in out


def test_a_name_cannot_command_the_terminal(invoke: Any, store: Store, make_record: Any) -> None:
    record = make_record(label="evil\x1b[2J")
    failure = Failure(kind="ValueError", message="\x1b[2J", traceback="\x1b]0;title\x07\nboom")
    store.put(record.model_copy(update={"status": "failed", "metrics": None, "error": failure}))
    assert ESCAPE not in invoke("show", record.key).out
    assert ESCAPE not in invoke("results", "list").out


@pytest.mark.parametrize("arguments", [["show", "0123"], ["show", "0123", "--json"]])
def test_an_unknown_key_is_one_line(invoke: Any, store: Store, arguments: list[str]) -> None:
    done = invoke(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "no record '0123'" in done.err
    assert "synflow-bench results list" in done.err


def test_results_list_names_every_record(invoke: Any, store: Store, make_record: Any) -> None:
    done, failed = make_record(top1=0.8125), make_record(seed=1, status="failed")
    for record in (failed, done):
        store.put(record)
    lines = invoke("results", "list").out.splitlines()
    assert lines[0].split()[:3] == [done.key, "ok", "81.2"]
    assert lines[1].split()[:3] == [failed.key, "failed", "–"]
    assert lines[1].endswith("digits / fc / snip / compression 10 / seed 1")


def test_results_list_is_a_json_list_if_asked(invoke: Any, store: Store, make_record: Any) -> None:
    store.put(make_record())
    assert json.loads(invoke("results", "list", "--json").out) == [
        {
            "key": make_record().key,
            "status": "ok",
            "cell": "digits / fc / snip / compression 10 / seed 0",
            "test_top1": 0.8,
        }
    ]


def test_no_results_are_an_empty_list(invoke: Any, store: Store) -> None:
    assert json.loads(invoke("results", "list", "--json").out) == []
    plain = invoke("results", "list")
    assert (plain.code, plain.out) == (0, "")
    assert "no records in" in plain.err


def test_results_schema_describes_a_record(invoke: Any, make_record: Any) -> None:
    schema = json.loads(invoke("results", "schema").out)
    jsonschema.validate(json.loads(make_record().to_json()), schema)
    assert set(schema["properties"]) == {
        "schema" if name == "schema_version" else name for name in Record.model_fields
    }
