"""Archives and other folders: records are validated and compared, ours are kept, nothing is extracted."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.records import Store, compare_records, export_records, import_records


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return Store(tmp_path / "theirs")


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """Write an archive as an unfriendly person might."""
    with tarfile.open(path, "w:gz") as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def test_an_archive_holds_the_records_and_equal_records_give_equal_bytes(
    ours: Store, theirs: Store, make_record: Any, tmp_path: Path
) -> None:
    for seed in range(3):
        theirs.put(make_record(seed=seed))
    files = [tmp_path / name for name in ("one.tar.gz", "other.tar.gz")]
    for file in files:
        export_records(theirs, theirs, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    comparison = compare_records([files[0]], ours)
    assert import_records([files[0]], ours, comparison.new) == 3
    assert list(ours) == list(theirs), "provenance and timing stay as they were"


def test_a_record_that_is_here_is_not_new(ours: Store, theirs: Store, make_record: Any) -> None:
    ours.put(make_record(prune_seconds=1.0, label="ours"))
    theirs.put(make_record(prune_seconds=2.0, label="theirs"))
    comparison = compare_records([theirs.root], ours)
    assert (len(comparison.same), comparison.new, comparison.is_clean) == (1, (), True)


def test_different_contents_are_a_conflict_and_ours_stays(
    ours: Store, theirs: Store, make_record: Any
) -> None:
    ours.put(make_record(top1=0.5))
    theirs.put(make_record(top1=0.6))
    comparison = compare_records([theirs.root], ours)
    assert list(comparison.conflicts) == [make_record().key]
    import_records([theirs.root], ours, comparison.new)
    assert [record.metrics.test_top1 for record in ours if record.metrics] == [0.5]


def test_an_import_in_place_of_ours_leaves_ours_in_replaced(
    ours: Store, theirs: Store, make_record: Any
) -> None:
    ours.put(make_record(top1=0.5))
    theirs.put(make_record(top1=0.6))
    import_records([theirs.root], ours, compare_records([theirs.root], ours).conflicts)
    assert [record.metrics.test_top1 for record in ours if record.metrics] == [0.6]
    assert len(list((ours.root / "replaced").rglob("*.json"))) == 1


def test_keys_that_the_sources_disagree_on_are_left_out(
    ours: Store, theirs: Store, tmp_path: Path, make_record: Any
) -> None:
    third = Store(tmp_path / "third")
    theirs.put(make_record(top1=0.5))
    third.put(make_record(top1=0.6))
    third.put(make_record(seed=1))
    comparison = compare_records([theirs.root, third.root], ours)
    assert list(comparison.disputed) == [make_record().key]
    assert comparison.new == (make_record(seed=1).key,)
    assert not comparison.is_clean


def test_a_key_that_is_not_the_cells_own_is_refused(ours: Store, make_record: Any, tmp_path: Path) -> None:
    text = make_record().to_json().replace('"seed": 0', '"seed": 7')
    comparison = compare_records([archive(tmp_path / "a.tar.gz", {"x.json": text.encode()})], ours)
    assert "has a cell of another key" in comparison.refused[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"schema": 1', '"schema": 2', "it is of schema 2"),
        ('"test_top1": 0.8', '"test_top1": NaN', "test_top1"),
        ('"kept": 85800', '"kept": 858000', "858000 of 858000"),
    ],
)
def test_invalid_records_are_refused_by_name_and_the_rest_is_new(
    ours: Store, make_record: Any, tmp_path: Path, old: str, new: str, said: str
) -> None:
    bad = make_record().to_json().replace(old, new)
    good = make_record(seed=1).to_json()
    file = archive(tmp_path / "a.tar.gz", {"bad.json": bad.encode(), "good.json": good.encode()})
    comparison = compare_records([file], ours)
    assert len(comparison.refused) == 1
    assert "'bad.json'" in comparison.refused[0]
    assert said in comparison.refused[0]
    assert len(comparison.new) == 1


def test_names_in_an_archive_have_no_effect(ours: Store, make_record: Any, tmp_path: Path) -> None:
    record = make_record()
    names = ["../../escaped.json", "/etc/escaped.json"]
    file = archive(tmp_path / "a.tar.gz", dict.fromkeys(names, record.to_json().encode()))
    assert import_records([file], ours, compare_records([file], ours).new) == 1
    assert ours.paths() == [ours.path(record.cell)]
    assert not list(tmp_path.parent.rglob("escaped.json"))


def test_links_in_an_archive_are_not_followed(ours: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        file.addfile(link)
    assert compare_records([tmp_path / "a.tar.gz"], ours).refused == ()


def test_a_file_that_is_no_archive_or_is_damaged_is_one_line(
    ours: Store, make_record: Any, tmp_path: Path
) -> None:
    members = {f"{seed}.json": make_record(seed=seed).to_json().encode() for seed in range(50)}
    whole = archive(tmp_path / "a.tar.gz", members)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-20])
    changed = bytearray(whole.read_bytes())
    changed[-6] ^= 0xFF  # the checksum
    (tmp_path / "changed.tar.gz").write_bytes(changed)
    (tmp_path / "text.tar.gz").write_text("hello")
    for bad, reason in {
        cut: "cannot read archive",
        tmp_path / "changed.tar.gz": "cannot read archive",
        tmp_path / "text.tar.gz": "not an archive of records",
    }.items():
        with pytest.raises(RecordError, match=reason):
            compare_records([bad], ours)
    with pytest.raises(RecordError, match="is not there"):
        compare_records([tmp_path / "nowhere"], ours)
    assert not ours.root.exists()


def test_a_record_in_the_wrong_folder_is_refused(theirs: Store, make_record: Any) -> None:
    path = theirs.put(make_record("snip"))
    place = path.parent.with_name("synflow") / path.name
    place.parent.mkdir()
    path.rename(place)
    (refused,) = compare_records([theirs.root]).refused
    assert f"{str(place)!r} belongs at {str(path)!r}" in refused


@pytest.mark.parametrize("folder", ["aaa", "zzz"])
@pytest.mark.parametrize("top1", [0.5, 0.6])
def test_a_record_in_the_wrong_folder_is_compared_with_the_one_in_the_right_folder(
    ours: Store, theirs: Store, make_record: Any, folder: str, top1: float
) -> None:
    path = theirs.put(make_record("snip", top1=0.5))
    misplaced = path.parent.with_name(folder) / path.name
    misplaced.parent.mkdir()
    misplaced.write_text(make_record("snip", top1=top1).to_json())
    comparison = compare_records([theirs.root], ours)
    (refused,) = comparison.refused
    assert "another record" in refused
    assert "move it" not in refused
    differs = {make_record("snip").key: f"{str(path)!r} and {str(misplaced)!r}"}
    assert comparison.disputed == ({} if top1 == 0.5 else differs)
    assert len(comparison.new) == (top1 == 0.5)


def test_a_record_of_another_schema_is_named_with_the_version_that_reads_it(
    ours: Store, make_record: Any, tmp_path: Path
) -> None:
    text = make_record().to_json().replace('"schema": 1', '"schema": 2')
    (refused,) = compare_records([archive(tmp_path / "a.tar.gz", {"x.json": text.encode()})], ours).refused
    assert "'0.1.0'" in refused
    assert "delete" not in refused
