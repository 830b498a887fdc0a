"""Results folders: complete files or none, nothing is lost, and damaged records are errors."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.cli.options import default_results_root
from synflow_bench.errors import RecordError
from synflow_bench.records import Store, read_record


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_record_is_found_by_its_cell_by_its_key_and_by_iteration(store: Store, make_record: Any) -> None:
    record = make_record()
    store.put(record)
    assert store.get(record.cell) == record
    assert store.find(record.key[:6]) == record
    assert list(store) == [record]


def test_a_record_is_in_the_folder_of_its_dataset_model_and_pruner(store: Store, make_record: Any) -> None:
    record = make_record("synflow", 10)
    assert store.put(record) == store.root / "records" / "digits" / "fc" / "synflow" / f"{record.key}.json"
    assert json.loads((store.root / "store.json").read_text()) == {"schema": 1}


def test_a_missing_folder_is_empty_and_is_not_made_by_reading(store: Store, make_record: Any) -> None:
    assert list(store) == []
    assert store.get(make_record().cell) is None
    assert not store.root.exists()


def test_iteration_does_not_depend_on_the_order_of_writing(tmp_path: Path, make_record: Any) -> None:
    records = [make_record(pruner, seed=seed) for pruner in ("snip", "grasp") for seed in range(3)]
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    for record in records:
        one.put(record)
    for record in reversed(records):
        other.put(record)
    assert list(one) == list(other)


def test_a_record_that_is_replaced_is_kept(store: Store, make_record: Any) -> None:
    for top1 in (0.1, 0.2, 0.3):
        store.put(make_record(top1=top1))
    kept = sorted(json.loads(path.read_text())["metrics"]["test_top1"] for path in replaced(store))
    assert kept == [0.1, 0.2]
    assert [record.metrics.test_top1 for record in store if record.metrics] == [0.3]


def replaced(store: Store) -> list[Path]:
    return sorted((store.root / "replaced").rglob("*.json"))


def test_an_unreadable_record_is_kept_when_it_is_replaced(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.write_bytes(b"\xff\xfe damaged")
    store.put(make_record())
    assert [kept.read_bytes() for kept in replaced(store)] == [b"\xff\xfe damaged"]
    assert list(store) == [make_record()]


def test_a_record_that_is_set_aside_is_gone_from_its_place_alone(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    text = path.read_text()
    assert store.set_aside(path).read_text() == text
    assert list(store) == []


def failing_fsync(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_record_and_no_litter(
    store: Store, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = make_record(top1=0.1)
    path = store.put(old)
    monkeypatch.setattr(os, "fsync", failing_fsync)
    with pytest.raises(RecordError, match=r"cannot write .*No space left on device"):
        store.put(make_record(top1=0.2))
    assert read_record(path) == old
    assert files(store.records) == [str(path.relative_to(store.records))]


def test_a_file_in_place_of_the_folder_is_an_error(tmp_path: Path, make_record: Any) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(RecordError, match="is not a folder"):
        Store(tmp_path / "results").put(make_record())


@pytest.mark.parametrize(
    ("damage", "fact"),
    [
        (lambda text: text[: len(text) // 2], "EOF while parsing"),
        (lambda text: "", "EOF while parsing"),
        (lambda text: text.replace('"ok"', '"fine"'), "status: input should be"),
        (lambda text: text.replace('"status"', '"state"'), "state: no such field"),
        (lambda text: text.replace('"seed": 0', '"seed": 1').replace('"seed":0', '"seed":1'), "another key"),
    ],
    ids=["cut short", "empty", "unknown status", "unknown field", "edited cell"],
)
def test_a_damaged_record_is_named_with_the_way_out(
    store: Store, make_record: Any, damage: Any, fact: str
) -> None:
    path = store.put(make_record())
    path.write_text(damage(path.read_text()))
    with pytest.raises(RecordError) as caught:
        list(store)
    assert fact in str(caught.value)
    assert str(path) in str(caught.value)
    assert "delete" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_record_of_another_schema_is_not_to_be_deleted(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2').replace('"0.1.0"', '"0.9.0"'))
    for read in (store.results, lambda: list(store)):
        with pytest.raises(RecordError) as caught:
            read()
        assert "'0.9.0'" in str(caught.value)
        assert "delete" not in str(caught.value)


def test_a_key_in_two_files_is_refused_with_both_paths(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    copy = path.parent.with_name("elsewhere") / path.name
    copy.parent.mkdir()
    copy.write_bytes(path.read_bytes())
    for read in (store.results, lambda: list(store), lambda: store.find(make_record().key)):
        with pytest.raises(RecordError, match=make_record().key) as caught:
            read()
        assert all(repr(str(each)) in str(caught.value) for each in (path, copy))
        assert "delete" not in str(caught.value)


def test_bytes_that_are_no_text_are_an_error(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecordError, match="unreadable record"):
        store.get(make_record().cell)


def test_a_record_under_another_name_is_refused(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.rename(path.with_name("0123456789abcdef.json"))
    with pytest.raises(RecordError, match=make_record().key):
        list(store)


def test_a_folder_of_another_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text('{"schema": 99}')
    with pytest.raises(RecordError, match=r"schema 99, .*schema 1"):
        Store(tmp_path)
    assert (tmp_path / "store.json").read_text() == '{"schema": 99}'


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", "7"])
def test_an_unreadable_schema_marker_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_text(text)
    with pytest.raises(RecordError, match=r"unreadable .*store\.json"):
        Store(tmp_path)


def test_a_key_that_begins_several_records_is_refused(store: Store, make_record: Any) -> None:
    for seed in range(40):
        store.put(make_record(seed=seed))
    keys = sorted(record.key for record in store)
    first = next(key[0] for key, after in pairwise(keys) if key[0] == after[0])
    with pytest.raises(RecordError, match=f"{first!r}"):
        store.find(first)
    with pytest.raises(RecordError, match="'xyz'"):
        store.find("xyz")


def test_results_are_where_the_environment_says_or_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNFLOW_BENCH_RESULTS", "/data/results")
    assert default_results_root() == Path("/data/results")
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("SYNFLOW_BENCH_RESULTS")
        else:
            monkeypatch.setenv("SYNFLOW_BENCH_RESULTS", unset)
        assert default_results_root() == Path("results")
