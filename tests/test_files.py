"""Atomic writes: the old file or the new one, at every moment, with ordinary permissions."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.files import replacement, write_atomically

KILLED_BEFORE_RENAME = """
import os, signal, sys
from pathlib import Path
from synflow_bench.files import write_atomically
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_atomically(Path(sys.argv[1]), "new")
"""


def test_a_process_killed_between_writing_and_renaming_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.json"
    write_atomically(path, "old")
    done = subprocess.run([sys.executable, "-c", KILLED_BEFORE_RENAME, str(path)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert list(path.parent.glob("*.json")) == [path], "the temporary file has another suffix"


def test_an_error_in_the_block_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def fail_half_way() -> None:
        with replacement(path) as temporary:
            temporary.write_text("ne")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


def test_files_have_the_permissions_that_the_user_gives_new_files(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", "text")
        with replacement(tmp_path / "other") as temporary:
            temporary.unlink()
            temporary.touch(0o600)  # as libraries do that write a temporary file of their own
    finally:
        os.umask(before)
    for name in ("file", "other"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_a_place_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "below"
    with pytest.raises(RecordError, match="cannot write") as error:
        write_atomically(path, "text")
    assert repr(str(path)) in str(error.value)
