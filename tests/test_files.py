"""Atomic writes: the old file or the new one, at every moment, with ordinary permissions."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from synflow_bench import files
from synflow_bench.errors import RecordError
from synflow_bench.files import locked, open_regular, remove_stale, replacement, write_atomically

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


def test_the_target_of_a_link_is_written_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "board.md"
    link = tmp_path / "board.md"
    link.symlink_to(target)
    for text in ("new", "newer"):  # first where there is no target yet
        write_atomically(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["board.md", "board.md", "elsewhere"]


def test_a_device_receives_the_content_and_stays(tmp_path: Path) -> None:
    before = os.stat("/dev/null")  # noqa: PTH116  its inode is the fact
    write_atomically(Path("/dev/null"), "text")
    after = os.stat("/dev/null")  # noqa: PTH116
    assert (stat.S_ISCHR(after.st_mode), after.st_ino, after.st_mode) == (True, before.st_ino, before.st_mode)
    with pytest.raises(RecordError, match=r"cannot write '/dev/full': No space left"):
        write_atomically(Path("/dev/full"), "text")


def test_a_pipe_receives_the_content(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    write_atomically(pipe, "text")
    assert reader.communicate(timeout=60)[0] == "text"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordError, match="cannot write"):
        write_atomically(tmp_path / "folder", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_names_are_written_to_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noting(file: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{file}").readlink()))
        fsync(file)

    monkeypatch.setattr(os, "fsync", noting)
    write_atomically(tmp_path / "a" / "b" / "file", "text")
    folders = [path for path in synced if not path.endswith(".tmp")]
    assert folders == [str(tmp_path / "a"), str(tmp_path), str(tmp_path / "a" / "b")]
    assert synced[-1] == str(tmp_path / "a" / "b"), "after the rename"


def test_only_temporary_files_that_nobody_writes_are_stale(tmp_path: Path) -> None:
    for name in (".a-1-0.tmp", "b.tmp", ".c.json", "below/.d-2-0.tmp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with replacement(tmp_path / "e") as written:
        assert remove_stale(tmp_path) == 2
        assert written.exists()
    assert sorted(path.name for path in tmp_path.rglob("*")) == [".c.json", "b.tmp", "below", "e"]


HOLDER = """
import sys, time
from pathlib import Path
from synflow_bench.files import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    lock = tmp_path / "below" / ".lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        entered = threading.Event()

        def enter() -> None:
            with locked(lock):
                entered.set()

        waiting = threading.Thread(target=enter, daemon=True)
        waiting.start()
        assert not entered.wait(0.2)
        holder.kill()
        waiting.join(60)
        assert entered.is_set()


def test_a_lock_of_a_stopped_process_is_waited_for_but_never_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / ".lock"
    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        holder.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(files, "LOCK_WAIT", 0.2)
        for _ in range(2):
            with pytest.raises(RecordError, match=f"process {holder.pid} ") as error, locked(lock):
                pytest.fail("two processes have the lock")
            assert repr(str(lock)) in str(error.value)
        monkeypatch.setattr(files, "LOCK_WAIT", 60)
        holder.kill()
        with locked(lock):
            assert lock.read_text().endswith(f"process {os.getpid()}\n")


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    with open_regular(path) as file:
        assert file.read() == b"text"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "socket"))
    for name in ("pipe", "device", "loop", "socket", ".", "missing"):
        with pytest.raises(OSError):
            open_regular(tmp_path / name)


def test_the_wait_for_a_lock_begins_anew_with_every_process_that_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_WAIT", 1.0)
    lock = tmp_path / "lock"

    def take_turns() -> None:
        for turn in range(12):
            os.utime(lock, ns=(turn, turn))  # as if another process had written its name
            time.sleep(0.2)
        os.close(descriptor)

    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    others = threading.Thread(target=take_turns)
    others.start()
    with locked(lock):
        assert lock.read_text().endswith(f"process {os.getpid()}\n")
    others.join()
