"""Results folders and archives with files that systems leave behind, and those without records."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.records import Store, compare_records


@pytest.fixture
def store(tmp_path: Path, make_record: Any) -> Store:
    """One record, and what notebooks, file managers and file systems leave beside it."""
    store = Store(tmp_path / "results")
    path = store.put(make_record())
    for place in (".ipynb_checkpoints", "lost+found", "__MACOSX"):
        (store.records / place).mkdir()
        (store.records / place / path.name).write_text("junk")
    path.with_name(f"._{path.name}").write_bytes(b"\x00\x05\x16\x07")
    path.with_name(".DS_Store").write_bytes(b"\x00")
    return store


def test_what_systems_leave_behind_is_no_record(store: Store, make_record: Any) -> None:
    record = make_record()
    assert list(store) == [record]
    assert [result.key for result in store.results()] == [record.key]
    assert store.find(record.key) == record
    comparison = compare_records([store.root])
    assert (comparison.new, comparison.refused) == ((record.key,), ())


def test_hidden_members_of_an_archive_are_no_records(tmp_path: Path, make_record: Any) -> None:
    record = make_record()
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        for name, content in (
            (f"./records/{record.key}.json", record.to_json().encode()),
            (f"./records/._{record.key}.json", b"\x00\x05"),
            ("__MACOSX/x.json", b"junk"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    comparison = compare_records([archive])
    assert (comparison.new, comparison.refused) == ((record.key,), ())


@pytest.mark.parametrize("command", ["import", "merge", "verify"])
def test_a_source_without_records_is_an_error_that_names_it(
    command: str, store: Store, tmp_path: Path, invoke: Callable[..., Any]
) -> None:
    options = (
        ["--output", str(tmp_path / "new")] if command == "merge" else ["--results", str(tmp_path / "r")]
    )
    (tmp_path / "empty").mkdir()
    outcome = invoke("results", command, str(tmp_path / "empty" / ".."), str(tmp_path / "empty"), *options)
    assert outcome.code == 2
    outcome = invoke("results", command, str(store.records), *options)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert f"did you mean {str(store.root)!r}?" in outcome.err
    assert outcome.out == ""
