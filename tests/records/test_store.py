"""Results folders: complete files or none, nothing is lost, and damaged records are errors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.cli.options import default_results_root
from synflow_bench.errors import RecordError
from synflow_bench.files import replacement
from synflow_bench.records import Record, Store, compare_records, import_records, read_record
from synflow_bench.records.kept import kept_path, read_kept


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
    text = path.read_text()[:-2]
    path.write_text(text)
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


def test_a_failed_record_never_replaces_a_good_one(store: Store, make_record: Any) -> None:
    good = make_record(top1=0.5)
    store.put(good)
    for status in ("failed", "skipped"):
        beside = store.put(make_record(status=status))
        assert beside.is_relative_to(store.root / "replaced")
        assert json.loads(beside.read_text())["status"] == status
    assert list(store) == [good]
    store.put(make_record(top1=0.6))
    assert [record.metrics.test_top1 for record in store if record.metrics] == [0.6]


@pytest.mark.parametrize("before", ["failed", "skipped"])
def test_a_failed_record_makes_way_for_any_other(store: Store, make_record: Any, before: str) -> None:
    for status in (before, "failed", "ok"):
        store.put(make_record(status=status))
        assert [record.status for record in store] == [status]


def test_a_failed_record_replaces_a_damaged_one(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.write_text("{}")
    assert store.put(make_record(status="failed")) == path
    assert [kept.read_text() for kept in replaced(store)] == ["{}"]


WRITER = """
import sys
from pathlib import Path
from synflow_bench.records import Record, Store
good, bad = (Record.model_validate_json(Path(name).read_text()) for name in sys.argv[2:])
store = Store(Path(sys.argv[1]))
for _ in range(30):
    store.put(bad)
    store.put(good)
    store.put(bad)
    assert [record.status for record in store] == ["ok"]
"""


def test_processes_that_write_at_the_same_time_keep_the_good_record(
    store: Store, make_record: Any, tmp_path: Path
) -> None:
    names = []
    for status in ("ok", "failed"):
        names.append(str(tmp_path / status))
        Path(names[-1]).write_text(make_record(status=status).to_json())
    code = WRITER.replace("    store.put(bad)\n", "", 1)  # the first of all is a good one
    command = [sys.executable, "-c", code, str(store.root), *names]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(3)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    assert [record.status for record in store] == ["ok"]
    assert [name for name in files(store.root) if name.endswith(".tmp")] == []


def test_a_valid_record_is_not_set_aside(store: Store, make_record: Any) -> None:
    """Another run may have written it since this one found a damaged record in its place."""
    path = store.put(make_record())
    store.set_aside(path)
    assert list(store) == [make_record()]
    path.unlink()
    store.set_aside(path)
    assert not replaced(store)


def test_a_record_that_cannot_be_set_aside_is_one_line(
    store: Store, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.put(make_record())
    path.write_text("{}")

    def refuse(*_: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(RecordError, match=r"cannot move .*Read-only file system") as caught:
        store.set_aside(path)
    assert str(path) in str(caught.value)


def test_temporary_files_of_killed_processes_are_deleted_before_a_run(store: Store, make_record: Any) -> None:
    record = make_record()
    path = store.put(record)
    store.put(record)
    stale = [place.with_name(f".{record.key}-1-0.tmp") for place in (path, *replaced(store))]
    for each in stale:
        each.write_text("half")
    with replacement(path) as written:
        store.check_writable([record.cell])
        assert written.exists(), "another process is writing it"
    assert [each.exists() for each in stale] == [False, False]
    assert files(store.records) == [str(path.relative_to(store.records))]


def full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_is_found_before_a_run(
    store: Store, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RecordError, match="No space left on device"):
        store.check_writable([make_record().cell])


def test_a_folder_that_cannot_be_written_is_found_before_a_run(
    store: Store, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store.put(make_record()).parent
    monkeypatch.setattr(os, "access", lambda path, _: path != folder)
    store.check_writable([make_record("grasp").cell])
    with pytest.raises(RecordError, match="make the folder writable") as caught:
        store.check_writable([make_record().cell])
    assert repr(str(folder)) in str(caught.value)


def test_a_file_in_the_way_of_a_folder_is_found_before_a_run(store: Store, make_record: Any) -> None:
    store.put(make_record())
    (store.records / "digits" / "fc" / "grasp").write_text("")
    with pytest.raises(RecordError, match="it is no folder"):
        store.check_writable([make_record("grasp").cell])


def test_records_that_are_missing_or_damaged_are_named(store: Store, make_record: Any) -> None:
    cells = [make_record(seed=seed).cell for seed in range(3)]
    paths = [store.put(make_record(seed=seed)) for seed in range(3)]
    assert store.verify(cells) == []
    paths[0].unlink()
    paths[1].write_text(paths[1].read_text().replace("0.8", "0.9"))
    missing, damaged = store.verify(cells)
    assert str(paths[0]) in missing
    assert "is missing" in missing
    assert str(paths[1]) in damaged
    shutil.rmtree(store.root)
    assert len(store.verify(cells)) == 3


@pytest.fixture
def closed(store: Store, make_record: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a record that this user may not read; another pruner's record is beside it."""
    folder = store.put(make_record("grasp")).parent
    store.put(make_record("snip"))
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return folder


def test_a_folder_that_cannot_be_read_is_named_and_the_other_records_are_there(
    store: Store, closed: Path
) -> None:
    for read in (store.paths, store.results, lambda lines: list(store.read_all(lines))):
        lines: list[str] = []
        assert len(read(lines)) == 1
        assert [repr(str(closed)) in line for line in lines] == [True]
    for strict in (store.paths, store.results, lambda: list(store)):
        with pytest.raises(RecordError, match="cannot read folder"):
            strict()


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("export",), ("verify",), ("board",)])
def test_commands_name_a_folder_that_cannot_be_read_and_exit_with_1(
    store: Store, closed: Path, invoke: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    command = {"board": ["leaderboard"], "export": ["results", "export", str(tmp_path / "a.tar.gz")]}
    outcome = invoke(*command.get(words[0], ["results", *words]), "--results", str(store.root))
    assert outcome.code == 1
    assert str(closed) in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("words", [("list",), ("list", "--json"), ("export",), ("board",)])
def test_one_damaged_record_does_not_stop_a_command(
    store: Store, make_record: Any, invoke: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    for seed in range(3):
        path = store.put(make_record(seed=seed))
    path.write_text("{}")
    archive = tmp_path / "a.tar.gz"
    command = {"board": ["leaderboard"], "export": ["results", "export", str(archive)]}
    outcome = invoke(*command.get(words[0], ["results", *words]), "--results", str(store.root))
    assert outcome.code == 1
    assert str(path) in outcome.err
    if words[0] == "export":
        assert len(compare_records([archive]).new) == 2
    else:
        assert "snip" in outcome.out


def test_a_pipe_in_place_of_a_record_does_not_stop_the_reader(store: Store, make_record: Any) -> None:
    path = store.put(make_record())
    path.unlink()
    os.mkfifo(path)
    lines: list[str] = []
    assert store.results(lines) == []
    assert "not a regular file" in lines[0]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_pipes_and_devices_in_a_results_folder_are_named_and_not_read(
    make: Callable[[Path], object], store: Store, make_record: Any, tmp_path: Path
) -> None:
    record = make_record()
    path = store.put(record)
    kept = kept_path(path, "masks")
    make(kept)
    with pytest.raises(RecordError, match="not a regular file") as error:
        read_kept(record, path, "masks")
    assert repr(str(kept)) in str(error.value)
    with pytest.raises(RecordError, match="not a regular file"):
        import_records([store.root], Store(_with_record(tmp_path / "other", record)), [])
    path.unlink()
    make(path)
    with pytest.raises(RecordError, match="not a regular file"):
        store.put(record)
    (store.root / "store.json").unlink()
    make(store.root / "store.json")
    with pytest.raises(RecordError, match="not a regular file"):
        Store(store.root)


def _with_record(folder: Path, record: Record) -> Path:
    Store(folder).put(record)
    return folder
