"""Integrity: a record that was changed is named, and one without a sha256 stays as it is."""

from __future__ import annotations

import gzip
import json
import random
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import LONGEST_TEXT, RecordError
from synflow_bench.records import (
    LARGEST,
    Failure,
    Record,
    ResultReader,
    Store,
    compare_records,
    export_records,
    import_records,
    read_record,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def unsealed(record: Record) -> Record:
    """Return the record as versions wrote it that knew no sha256."""
    return record.model_copy(update={"sha256": None})


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_no_single_flipped_bit_passes(store: Store, make_record: Any, status: str) -> None:
    path = store.put(make_record("synflow[rounds=10]", status=status))
    whole, rng, reader = path.read_bytes(), random.Random(0), ResultReader()  # noqa: S311
    for _ in range(500):
        content = bytearray(whole)
        content[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        for read in (lambda: read_record(path), lambda: reader.read(str(path))):
            with pytest.raises(RecordError) as caught:
                read()
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)
    path.write_bytes(whole)
    assert reader.read(str(path)).key == read_record(path).key


def test_every_bit_of_the_name_of_the_field_counts(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    whole = path.read_bytes()
    start = whole.index(b' "sha256"')
    for place in range(8 * start, 8 * (start + len(b' "sha256": "0'))):
        content = bytearray(whole)
        content[place // 8] ^= 1 << (place % 8)
        path.write_bytes(content)
        with pytest.raises(RecordError):
            ResultReader().read(str(path))


def test_the_sha256_is_that_of_the_file_without_its_line(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    lines = path.read_bytes().splitlines(keepends=True)
    (line,) = (line for line in lines if line.startswith(b' "sha256"'))
    assert json.loads(b"{" + line.strip().rstrip(b",") + b"}")["sha256"] == read_record(path).sha256
    assert sha256(b"".join(each for each in lines if each != line)).hexdigest() == read_record(path).sha256


def test_a_number_that_was_changed_by_hand_is_named(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.write_text(path.read_text().replace('"train_seconds": 1.0', '"train_seconds": 2.0'))
    with pytest.raises(RecordError, match="does not have its sha256"):
        store.get(make_record().cell)


def test_a_change_of_the_layout_alone_is_a_change(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(RecordError, match="does not have its sha256"):
        store.results()


def test_older_records_are_exported_and_imported_byte_by_byte(
    store: Store, tmp_path: Path, make_record: Any
) -> None:
    old = unsealed(make_record())
    path = store.put(old, as_it_is=True)
    assert "sha256" not in path.read_text()
    assert list(store) == [old]
    export_records(store, store, tmp_path / "a.tar.gz")
    other = Store(tmp_path / "other")
    assert import_records([tmp_path / "a.tar.gz"], other, [old.key]) == 1
    assert other.path(old.cell).read_bytes() == path.read_bytes()


def test_a_record_with_a_sha256_has_the_content_of_one_without(
    store: Store, tmp_path: Path, make_record: Any
) -> None:
    other = Store(tmp_path / "other")
    store.put(make_record())
    other.put(unsealed(make_record()), as_it_is=True)
    assert compare_records([other.root], store).same == (make_record().key,)


def test_committed_records_are_valid_with_a_sha256_and_those_of_before_without_one(store: Store) -> None:
    leaderboard = REPOSITORY / "leaderboard"
    archive = [leaderboard / "precision" / "records.tar.gz"]
    import_records(archive, store, compare_records(archive, store).new)
    for records, sealed in ((Store(leaderboard / "smoke" / "results"), True), (store, False)):
        unreadable: list[str] = []
        results = records.results(unreadable, in_full=True)
        assert (len(results) >= 30, unreadable) == (True, [])
        assert {record.sha256 is not None for record in records} == {sealed}


def test_a_run_takes_only_records_as_done_that_are_valid_in_full(store: Store, make_record: Any) -> None:
    path = store.put(unsealed(make_record()), as_it_is=True)
    path.write_text(path.read_text().replace('"threads": 1', '"threads": 0'))
    assert ResultReader().read(str(path)).status == "ok"
    with pytest.raises(RecordError, match=r"provenance\.threads"):
        ResultReader().read(str(path), in_full=True)


@pytest.mark.parametrize("part", ["kind", "message", "traceback"])
@pytest.mark.parametrize(
    "text", ["\udcff", "a" * 50_000_000, "\ud800" * 100_000], ids=["half", "50 MB", "both"]
)
def test_any_text_of_an_error_can_be_stored_exported_and_imported(
    store: Store, tmp_path: Path, make_record: Any, part: str, text: str
) -> None:
    error = Failure(**{"kind": "ValueError", "message": "m", part: text})
    record = make_record(status="failed").model_copy(update={"error": error})
    path = store.put(record)
    assert path.stat().st_size < 20 * LONGEST_TEXT
    export_records(store, store, tmp_path / "a.tar.gz")
    assert compare_records([tmp_path / "a.tar.gz"]).new == (record.key,)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"schema": 1, "curve": [' + b"{}," * 50_000 + b"{}]}",
        b'{"schema": 1, ' + b",".join(b'"%d": 1' % n for n in range(100_000)) + b"}",
        b'{"schema": 1, "key": ' + b"9" * 5000 + b"}",
        b'{"schema": 1e999}',
        b'{"schema": "\\ud800"}',
        b"\xff\xfe",
        b"",
        b"null",
    ],
    ids=[
        "deep list",
        "deep object",
        "list",
        "fields",
        "digits",
        "inf",
        "surrogate",
        "bytes",
        "empty",
        "null",
    ],
)
def test_json_that_is_made_to_hurt_is_one_short_line(store: Store, make_record: Any, content: bytes) -> None:
    path = store.path(make_record().cell)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for read in (lambda: read_record(path), lambda: ResultReader().read(str(path))):
        with pytest.raises(RecordError) as caught:
            read()
        assert len(str(caught.value)) < 1000
        assert "\n" not in str(caught.value)


def test_a_deep_marker_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "store.json").write_text("[" * 100_000)
    with pytest.raises(RecordError, match=r"unreadable .*store\.json"):
        Store(tmp_path)


def test_a_file_that_is_too_large_is_not_read(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    with path.open("r+b") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(RecordError, match=f"{LARGEST + 1} bytes"):
        read_record(path)


@pytest.mark.parametrize("part", ["prune_seconds", "train_seconds", "total_seconds"])
@pytest.mark.parametrize("value", ["1e308", "1e13", "-1", "NaN", "1e400"])
def test_times_that_no_sum_can_hold_are_refused(
    store: Store, make_record: Any, part: str, value: str
) -> None:
    data = json.loads(unsealed(make_record()).to_json())
    data["timing"][part] = "HERE"
    path = store.path(make_record().cell)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(data).replace('"HERE"', value))
    with pytest.raises(RecordError, match=f"timing.{part}|expected value"):
        store.results()


def test_an_archive_of_the_first_version_is_unchanged_by_import_and_export(tmp_path: Path) -> None:
    archive = REPOSITORY / "leaderboard" / "precision" / "records.tar.gz"
    store = Store(tmp_path / "results")
    import_records([archive], store, compare_records([archive]).new)
    export_records(store, store, tmp_path / "again.tar.gz")
    whole, again = (gzip.decompress(file.read_bytes()) for file in (archive, tmp_path / "again.tar.gz"))
    assert again == whole
