"""Archives and foreign folders: validated, compared, never written over ours, never extracted."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.records import Store
from synflow_bench.records.sharing import compare, pack, take


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours")


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    return Store(tmp_path / "theirs")


def archive(path: Path, members: dict[str, bytes]) -> Path:
    """An archive of someone who need not be friendly."""
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
        pack(theirs, theirs, file)
    assert files[0].read_bytes() == files[1].read_bytes()
    comparison = compare([files[0]], ours)
    assert take([files[0]], ours, comparison.new) == 3
    assert list(ours) == list(theirs), "provenance and timing stay as they were"


def test_what_is_here_already_is_not_new(ours: Store, theirs: Store, make_record: Any) -> None:
    ours.put(make_record(prune_seconds=1.0, label="ours"))
    theirs.put(make_record(prune_seconds=2.0, label="theirs"))
    comparison = compare([theirs.root], ours)
    assert (len(comparison.same), comparison.new, comparison.is_clean) == (1, (), True)


def test_different_contents_are_a_conflict_and_ours_stays(
    ours: Store, theirs: Store, make_record: Any
) -> None:
    ours.put(make_record(top1=0.5))
    theirs.put(make_record(top1=0.6))
    comparison = compare([theirs.root], ours)
    assert list(comparison.conflicts) == [make_record().key]
    take([theirs.root], ours, comparison.new)
    assert [record.metrics.test_top1 for record in ours if record.metrics] == [0.5]


def test_what_is_taken_by_force_leaves_ours_in_replaced(ours: Store, theirs: Store, make_record: Any) -> None:
    ours.put(make_record(top1=0.5))
    theirs.put(make_record(top1=0.6))
    take([theirs.root], ours, compare([theirs.root], ours).conflicts)
    assert [record.metrics.test_top1 for record in ours if record.metrics] == [0.6]
    assert len(list((ours.root / "replaced").rglob("*.json"))) == 1


def test_keys_that_the_sources_disagree_on_are_left_out(
    ours: Store, theirs: Store, tmp_path: Path, make_record: Any
) -> None:
    third = Store(tmp_path / "third")
    theirs.put(make_record(top1=0.5))
    third.put(make_record(top1=0.6))
    third.put(make_record(seed=1))
    comparison = compare([theirs.root, third.root], ours)
    assert list(comparison.contested) == [make_record().key]
    assert comparison.new == (make_record(seed=1).key,)
    assert not comparison.is_clean


def test_a_key_that_is_not_the_cells_own_is_refused(ours: Store, make_record: Any, tmp_path: Path) -> None:
    text = make_record().to_json().replace('"seed": 0', '"seed": 7')
    comparison = compare([archive(tmp_path / "a.tar.gz", {"x.json": text.encode()})], ours)
    assert "has a cell of another key" in comparison.refused[0]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"schema": 1', '"schema": 2', "it is of schema 2"),
        ('"test_top1": 0.8', '"test_top1": NaN', "test_top1"),
        ('"kept": 85800', '"kept": 858000', "weights are kept, where compression 10 asks for 85800"),
    ],
)
def test_another_schema_and_numbers_that_are_none_are_refused_by_name_and_the_rest_is_taken(
    ours: Store, make_record: Any, tmp_path: Path, old: str, new: str, said: str
) -> None:
    bad = make_record().to_json().replace(old, new)
    good = make_record(seed=1).to_json()
    file = archive(tmp_path / "a.tar.gz", {"bad.json": bad.encode(), "good.json": good.encode()})
    comparison = compare([file], ours)
    assert len(comparison.refused) == 1
    assert "'bad.json'" in comparison.refused[0]
    assert said in comparison.refused[0]
    assert len(comparison.new) == 1


def test_names_in_an_archive_decide_nothing(ours: Store, make_record: Any, tmp_path: Path) -> None:
    record = make_record()
    names = ["../../escaped.json", "/etc/escaped.json"]
    file = archive(tmp_path / "a.tar.gz", dict.fromkeys(names, record.to_json().encode()))
    assert take([file], ours, compare([file], ours).new) == 1
    assert ours.paths() == [ours.path(record.cell)]
    assert not list(tmp_path.parent.rglob("escaped.json"))


def test_links_in_an_archive_are_not_followed(ours: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as file:
        link = tarfile.TarInfo("link.json")
        link.type, link.linkname = tarfile.SYMTYPE, str(secret)
        file.addfile(link)
    assert compare([tmp_path / "a.tar.gz"], ours).refused == ()


def test_a_file_that_is_no_archive_or_is_cut_short_is_one_line(
    ours: Store, make_record: Any, tmp_path: Path
) -> None:
    members = {f"{seed}.json": make_record(seed=seed).to_json().encode() for seed in range(50)}
    whole = archive(tmp_path / "a.tar.gz", members)
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(whole.read_bytes()[:-20])
    (tmp_path / "text.tar.gz").write_text("hello")
    for bad in (cut, tmp_path / "text.tar.gz"):
        with pytest.raises(RecordError, match="cannot read archive"):
            compare([bad], ours)
    with pytest.raises(RecordError, match="is not there"):
        compare([tmp_path / "nowhere"], ours)
    assert not ours.root.exists()


def test_a_record_in_the_wrong_folder_is_a_fault(theirs: Store, make_record: Any) -> None:
    path = theirs.put(make_record("snip"))
    place = path.parent.with_name("synflow") / path.name
    place.parent.mkdir()
    path.rename(place)
    (fault,) = compare([theirs.root]).refused
    assert fault == f"record {str(place)!r} belongs at {str(path)!r}; move it"


@pytest.mark.parametrize("folder", ["aaa", "zzz"])
@pytest.mark.parametrize("top1", [0.5, 0.6])
def test_a_record_in_the_wrong_folder_is_compared_with_the_one_in_the_right_folder(
    ours: Store, theirs: Store, make_record: Any, folder: str, top1: float
) -> None:
    path = theirs.put(make_record("snip", top1=0.5))
    misplaced = path.parent.with_name(folder) / path.name
    misplaced.parent.mkdir()
    misplaced.write_text(make_record("snip", top1=top1).to_json())
    comparison = compare([theirs.root], ours)
    (fault,) = comparison.refused
    assert fault.endswith("where another record is; keep one, move the other out of the folder")
    assert "move it" not in fault
    differs = {make_record("snip").key: f"{str(path)!r} and {str(misplaced)!r}"}
    assert comparison.contested == ({} if top1 == 0.5 else differs)
    assert len(comparison.new) == (top1 == 0.5)


def test_a_record_of_another_schema_is_named_with_the_version_that_reads_it(
    ours: Store, make_record: Any, tmp_path: Path
) -> None:
    text = make_record().to_json().replace('"schema": 1', '"schema": 2')
    (fault,) = compare([archive(tmp_path / "a.tar.gz", {"x.json": text.encode()})], ours).refused
    assert "read it with the version that wrote it ('0.1.0'), or keep it in another folder" in fault
    assert "delete" not in fault
