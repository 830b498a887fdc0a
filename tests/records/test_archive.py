"""Archives from anywhere: read within bounds, to the last byte, and with one line for whatever is wrong."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.records import Store, archive, compare_records, export_records, import_records

NAME = "records/digits/fc/snip/0123456789abcdef.json"


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    return header(name, len(content), kind) + padded(content)


END = bytes(1024)


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(gzip.compress(b"".join(parts)))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.tar.gz"


@pytest.fixture
def record(make_record: Any) -> bytes:
    content: bytes = make_record().to_json().encode()
    return content


def zeros(head: bytes, count: int, path: Path) -> Path:
    """A small file that unpacks to `head` and `count` MiB of zeros."""
    with gzip.open(path, "wb") as packed:
        packed.write(head)
        for _ in range(count):
            packed.write(bytes(2**20))
    return path


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE]
)
def test_a_small_archive_with_a_huge_member_takes_no_memory(file: Path, kind: bytes) -> None:
    zeros(header("x.json", 200 * 2**20, kind), 200, file)
    assert file.stat().st_size < 2**20
    tracemalloc.start()
    with pytest.raises(RecordError, match=r"cannot read archive .*: 'x.json' has 209715200 bytes"):
        compare_records([file])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_SPARSE, tarfile.CHRTYPE, tarfile.FIFOTYPE, b"?"])
def test_what_is_no_plain_file_is_refused(file: Path, kind: bytes) -> None:
    write(file, header("x.json", 0, kind), END)
    with pytest.raises(RecordError, match=r"'x\.json' is no file"):
        compare_records([file])


def test_the_map_of_a_sparse_file_is_never_expanded(file: Path, record: bytes) -> None:
    """POSIX writes sparse files as plain ones with fields that say so; their content is no record."""
    fields = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n33 GNU.sparse.realsize=999999999\n"
    write(file, member("x", fields, tarfile.XHDTYPE), member("x.json", b"1\n0\n5\n"), END)
    (line,) = compare_records([file]).refused
    assert "'x.json'" in line


def test_a_second_archive_behind_the_first_is_not_dropped_silently(file: Path, make_record: Any) -> None:
    first, second = (make_record(seed=seed).to_json().encode() for seed in range(2))
    file.write_bytes(
        gzip.compress(member("a.json", first) + END) + gzip.compress(member("b.json", second) + END)
    )
    with pytest.raises(RecordError, match="more content after its end"):
        compare_records([file])


def test_an_archive_in_several_gzip_members_is_one_archive(file: Path, make_record: Any) -> None:
    contents = [make_record(seed=seed).to_json().encode() for seed in range(3)]
    parts = [gzip.compress(member(f"{n}.json", content)) for n, content in enumerate(contents)]
    file.write_bytes(b"".join(parts) + gzip.compress(END))
    assert len(compare_records([file]).new) == 3


def test_a_damaged_header_in_the_middle_is_not_the_end(file: Path, make_record: Any) -> None:
    parts = [member(f"{seed}.json", make_record(seed=seed).to_json().encode()) for seed in range(3)]
    damaged = bytearray(parts[1])
    damaged[150] ^= 1
    write(file, parts[0], bytes(damaged), parts[2], END)
    with pytest.raises(RecordError, match="cannot read archive"):
        compare_records([file])


@pytest.mark.parametrize("cut", [1, 511, 512, 1024, 1536])
def test_an_archive_that_ends_early_is_cut_short(file: Path, record: bytes, cut: int) -> None:
    whole = member("a.json", record) + END
    write(file, whole[: -len(END) + 512 - cut] if cut > 512 else whole[:-cut][: -len(END)])
    with pytest.raises(RecordError, match="cut short"):
        compare_records([file])


def test_archives_are_bounded(file: Path, record: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    write(file, *(member(f"{n}.txt", b"") for n in range(30)), member("a.json", record), END)
    assert len(compare_records([file]).new) == 1
    monkeypatch.setattr(archive, "MOST_MEMBERS", 20)
    with pytest.raises(RecordError, match="more than 20 members"):
        compare_records([file])
    monkeypatch.undo()
    monkeypatch.setattr(archive, "MOST_BYTES", 2000)
    with pytest.raises(RecordError, match="more than 2000 bytes"):
        compare_records([file])


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("name", [NAME, f"{'a' * 60}/{'b' * 60}/{'c' * 60}/x.json", f"{'ü' * 70}/x.json"])
def test_archives_of_other_programs_are_read(file: Path, record: bytes, form: int, name: str) -> None:
    with tarfile.open(file, "w:gz", format=form) as packed:
        for folder in ("records", "records/digits"):
            info = tarfile.TarInfo(folder)
            info.type = tarfile.DIRTYPE
            packed.addfile(info)
        info = tarfile.TarInfo(name)
        info.size = len(record)
        packed.addfile(info, io.BytesIO(record))
    assert [*archive.read_archive(file)] == [(name, record)]


@pytest.mark.parametrize("name", ["x.json", "evil.json", "thumbs.db", "desktop.ini", "store.json", "a.tmp"])
@pytest.mark.parametrize("part", ["dataset", "model", "pruner"])
def test_names_that_look_like_files_are_listed_exported_and_imported(
    tmp_path: Path, make_record: Any, name: str, part: str
) -> None:
    record = make_record(name if part == "pruner" else "snip")
    setting = record.cell.setting
    if part == "dataset":
        record = make_record(setting=setting.model_copy(update={"dataset": name}))
    if part == "model":
        model = setting.model.model_copy(update={"name": name})
        record = make_record(setting=setting.model_copy(update={"model": model}))
    theirs, ours = Store(tmp_path / "theirs"), Store(tmp_path / "ours")
    theirs.put(record)
    assert [result.key for result in theirs.results()] == [record.key]
    export_records(theirs, theirs, tmp_path / "a.tar.gz")
    for source in (theirs.root, tmp_path / "a.tar.gz"):
        assert compare_records([source]).new == (record.key,)
    assert import_records([tmp_path / "a.tar.gz"], ours, [record.key]) == 1
    assert list(ours) == [record]


def flip(content: bytearray, rng: random.Random) -> None:
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def cut(content: bytearray, rng: random.Random) -> None:
    del content[rng.randrange(len(content)) :]


def drop(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    del content[start : start + rng.choice([1, 4, 512])]


def insert(content: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(content))
    content[start:start] = rng.choice([b"\0", b"9" * 12, b"\xff" * 8, b"\x80" + bytes(7), b"[" * 600])


def number(content: bytearray, rng: random.Random) -> None:
    """Replace a field of a tar header."""
    start = 512 * rng.randrange(max(1, len(content) // 512)) + rng.choice([100, 124, 136, 148, 156, 257])
    content[start : start + 12] = rng.choice(
        [b"\x80" + b"\xff" * 11, b"\xff" * 12, b"77777777777\0", b"x" * 12]
    )


CHANGES: list[Callable[[bytearray, random.Random], None]] = [flip, cut, drop, insert, number]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_changed_archive_gives_the_same_records_or_one_line(
    tmp_path: Path, make_record: Any, packed: bool, form: int
) -> None:
    records = [make_record(seed=seed) for seed in range(2)]
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as whole:
        for record in records:
            content = record.to_json().encode()
            info = tarfile.TarInfo(f"{'long/' * 30}{record.key}.json")
            info.size, info.mtime = len(content), 1.5
            whole.addfile(info, io.BytesIO(content))
    plain, keys = sink.getvalue(), {record.key for record in records}
    file, rng, lines = tmp_path / "a.tar.gz", random.Random(0), []  # noqa: S311
    for _ in range(300):
        content = bytearray(gzip.compress(plain, 1) if packed else plain)
        for _ in range(rng.randint(1, 3)):
            if content:
                rng.choice(CHANGES)(content, rng)
        file.write_bytes(content if packed else gzip.compress(content, 1))
        try:
            found = compare_records([file])
        except RecordError as error:
            lines.append(str(error))
        else:
            assert {*found.new} <= keys
            assert {*found.new} == keys or found.refused or found.empty
    assert len(lines) > 100
    assert not any("\n" in line for line in lines)
