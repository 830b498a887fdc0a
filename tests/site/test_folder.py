"""A site is written whole or not at all, and never over what others put there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from synflow_bench.errors import RecordError, UsageError
from synflow_bench.site.folder import MARKER, check_folder, write_folder

FILES = [("index.html", "<p>ü</p>"), ("boards/one.html", "one")]


def test_all_files_are_written_and_named_in_the_marker(tmp_path: Path) -> None:
    output = tmp_path / "deep" / "site"
    assert write_folder(output, FILES) == 2
    assert (output / "index.html").read_bytes() == "<p>ü</p>".encode()
    assert (output / "boards" / "one.html").exists()
    assert "boards/one.html" in (output / MARKER).read_text()
    assert [path.name for path in output.parent.iterdir()] == ["site"]


@pytest.mark.parametrize("force", [True, False])
def test_a_new_or_empty_folder_may_be_written(tmp_path: Path, force: bool) -> None:
    check_folder(tmp_path / "new", force)
    check_folder(tmp_path, force)
    (tmp_path / "empty").mkdir()
    write_folder(tmp_path / "empty", FILES)
    assert (tmp_path / "empty" / "index.html").exists()


def test_a_site_is_written_anew_only_by_force_and_then_loses_what_it_no_longer_has(tmp_path: Path) -> None:
    output = tmp_path / "site"
    write_folder(output, FILES)
    with pytest.raises(UsageError, match="add --force"):
        check_folder(output, force=False)
    check_folder(output, force=True)
    write_folder(output, FILES[:1])
    assert not (output / "boards").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("marker", [None, "no json", '{"files": 3}', "[]"])
def test_a_folder_of_others_is_refused_even_by_force(tmp_path: Path, marker: str | None, force: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if marker:
        (tmp_path / MARKER).write_text(marker)
    with pytest.raises(UsageError, match="not empty and not a site"):
        check_folder(tmp_path, force)


@pytest.mark.parametrize("strange", ["CNAME", ".git/HEAD", "boards/notes.txt"])
def test_a_site_to_which_others_added_is_refused_by_naming_what_they_added(
    tmp_path: Path, strange: str
) -> None:
    output = tmp_path / "site"
    write_folder(output, FILES)
    (output / strange).parent.mkdir(exist_ok=True)
    (output / strange).write_text("theirs")
    with pytest.raises(UsageError, match=f"holds '{strange}', which is not part of its site"):
        check_folder(output, force=True)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "board").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        check_folder(tmp_path / "board", force=True)


def test_the_old_site_stays_where_the_new_one_fails(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[str, str]]:
        yield "index.html", "half"
        raise RecordError("the second record is damaged")

    output = tmp_path / "site"
    write_folder(output, FILES)
    with pytest.raises(RecordError, match="damaged"):
        write_folder(output, broken())
    assert (output / "index.html").read_text(encoding="utf-8") == "<p>ü</p>"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot write"):
        write_folder(tmp_path / "file" / "site", FILES)


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_folder(tmp_path / "link", FILES)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "index.html").exists()
