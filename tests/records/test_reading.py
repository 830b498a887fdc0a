"""Reading: the fast reader agrees with the full one, and recorded text is made safe to print."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synflow_bench.errors import RecordError, printable, printable_lines
from synflow_bench.records import Record, Result, ResultReader, Store, key_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def unsealed(record: Record) -> Record:
    """Return the record as versions wrote it that knew no sha256."""
    return record.model_copy(update={"sha256": None})


def test_it_reads_what_the_full_reader_reads(store: Store, make_record: Any) -> None:
    for seed in range(3):
        store.put(make_record("synflow[rounds=10]", 10, seed))
        store.put(make_record("snip", 31.6228, seed, ablation="shuffle", collapsed_layers=("fc1",)))
    store.put(make_record("grasp", status="failed"))
    store.put(make_record("grasp", 5, status="skipped"))
    assert store.results() == [Result.of(record) for record in store]
    assert all(key_of(result.cell) == result.key for result in store.results())


@settings(max_examples=50)
@given(
    st.floats(1, 1e9),
    st.integers(0, 2**40),
    st.dictionaries(
        st.from_regex(r"[a-z]{1,6}", fullmatch=True), st.text(max_size=6) | st.booleans(), max_size=3
    ),
)
def test_its_keys_are_those_of_the_cells_whatever_their_parameters(
    tmp_path_factory: Any, make_record: Any, compression: float, seed: int, parameters: dict[str, Any]
) -> None:
    store = Store(tmp_path_factory.mktemp("results"))
    record = make_record("snip", compression, seed)
    spec = record.cell.pruner.model_copy(update={"parameters": parameters})
    cell = record.cell.model_copy(update={"pruner": spec})
    store.put(record.model_copy(update={"cell": cell, "key": key_of(cell)}))
    (found,) = store.results()
    assert (found.key, found.cell) == (key_of(cell), cell)


def test_the_digest_is_that_of_the_file(store: Store, make_record: Any) -> None:
    path = store.put(unsealed(make_record()), as_it_is=True)
    assert ResultReader().read(str(path)).sha256 == sha256(path.read_bytes()).hexdigest()
    path.write_text(path.read_text().replace('"epoch": 1,', '"epoch": 2,'))
    assert ResultReader().read(str(path)).sha256 == sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("layout", [{"indent": 4}, {"separators": (",", ":")}, {"sort_keys": True}])
def test_the_layout_of_a_file_without_a_sha256_does_not_matter(
    store: Store, make_record: Any, layout: Any
) -> None:
    path = store.put(unsealed(make_record()), as_it_is=True)
    expected = ResultReader().read(str(path))
    path.write_text(json.dumps(json.loads(path.read_text()), **layout))
    found = ResultReader().read(str(path))
    assert (found.cell, found.metrics, found.timing) == (expected.cell, expected.metrics, expected.timing)


def test_cells_of_one_setting_share_it(store: Store, make_record: Any) -> None:
    for seed in range(2):
        store.put(make_record(seed=seed))
    one, other = store.results()
    assert one.cell.setting is other.cell.setting


@pytest.mark.parametrize(
    ("old", "new", "fact"),
    [
        ('"test_top1": 0.8', '"test_top1": NaN', "metrics.test_top1: "),
        ('"test_top1": 0.8', '"test_top1": 1.8', "metrics.test_top1: "),
        ('"seed": 0', '"seed": 1', "another key"),
        ('"seed": 0', '"seed": -1', "cell.seed: "),
        ('"compression": 10.0', '"compression": 0.5', "cell.compression: "),
        ('"status": "ok"', '"status": "fine"', "status: "),
        ('"status": "ok"', '"status": "failed"', "needs an error"),
        (
            '"kept": 85800',
            '"kept": 858000',
            "858000 of 858000",
        ),
        ('"kept": 85800', '"kept": 858001', "layers[0]: 858001"),
        ('"effective_kept": null', '"effective_kept": 85801', "layers[0]: 85801"),
        ('"density": 0.1', '"density": 0.3', "metrics.density is 0.3"),
        ('"max_test_top1": 0.8', '"max_test_top1": 0.7', "max_test_top1 0.7 is below"),
        ('"compression_all": 10.0', '"compression_all": -5', "metrics.compression_all: "),
        ('"schema": 1', '"schema": 2', "schema 2"),
        ('"cell": {', '"cell": [', "unreadable record"),
    ],
)
def test_an_invalid_record_is_the_same_error_as_of_the_full_reader(
    store: Store, make_record: Any, old: str, new: str, fact: str
) -> None:
    path = store.put(make_record())
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(RecordError) as quick:
        store.results()
    with pytest.raises(RecordError) as full:
        list(store)
    assert str(quick.value) == str(full.value)
    assert fact in str(quick.value)


def test_a_file_under_another_name_or_cut_short_is_refused(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    other = path.rename(path.with_name(f"copy-{path.name}"))
    with pytest.raises(RecordError, match="says that its key is"):
        store.results()
    other.rename(other := path.with_name("0123456789abcdef.json"))
    with pytest.raises(RecordError, match="says that its key is"):
        store.results()
    other.write_text(other.read_text()[:-200])
    with pytest.raises(RecordError, match="unreadable record"):
        store.results()


@given(st.text())
def test_printable_text_is_one_line_of_printable_letters(text: str) -> None:
    assert printable(text).isprintable()
    assert all(line.isprintable() for line in printable_lines(text).split("\n"))


@given(st.text(st.characters(categories=["L", "N", "P"]), min_size=1))
def test_plain_words_stay_as_they_are(text: str) -> None:
    assert printable(text) == printable_lines(text) == text


def test_lines_keep_their_indentation() -> None:
    assert printable_lines("Traceback:\n  boom\n\tx") == "Traceback:\n  boom\n    x"
    assert printable("Traceback:\n  boom") == "Traceback: boom"
