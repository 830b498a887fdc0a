"""Atomic writes, with the permissions of new files; locks; regular files; suffixes; and names of clutter."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

from synflow_bench.errors import RecordError, UsageError

_TEMPORARY = ".tmp"
"""The end of the names of temporary files; they begin with a dot."""

LOCK_WAIT = 60.0
"""The seconds for which a lock is waited for: a process that is not stopped holds it for a moment."""

_LOCK_INTERVAL = 0.02
"""The seconds between two attempts to get a lock."""

_LEFT_BEHIND = {
    "lost+found",
    "__macosx",
    "@eadir",
    "$recycle.bin",
    "system volume information",
    "thumbs.db",
    "desktop.ini",
}
"""Folders and files that file systems and file managers make, in lower case."""


def is_clutter(name: str) -> bool:
    """Return True for the name of a file or folder that nobody put there: a hidden one, or a system's own.

    Example:
        >>> is_clutter(".DS_Store"), is_clutter("._x.json"), is_clutter("lost+found"), is_clutter("n01440764")
        (True, True, True, False)
    """
    return name.startswith(".") or name.lower() in _LEFT_BEHIND


def open_regular(path: str | Path) -> FileIO:
    """Open a regular file to read it, without a buffer.

    Others are refused: to open a pipe is to wait for a writer, and a device may have no end.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        reason = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is not a regular file"
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, reason, str(path))
    return FileIO(descriptor)


def read_regular(path: str | Path) -> bytes:
    """Read a regular file.

    Raises:
        OSError: It cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        return file.read()


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing, as `replacement` does.

    Args:
        path: The file to write; an existing one is replaced.
        content: Bytes, or text that is written as UTF-8.

    Raises:
        RecordError: The file cannot be written; the old one, if any, is unchanged.
    """
    with replacement(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`, which takes its place when the block ends without error.

    At every moment the old file or the new one is at `path`, even if the process is killed or the machine
    loses power. After an error the temporary file is deleted. The target of a symbolic link is written, not
    the link; a device or a pipe such as `/dev/null` receives the content and stays what it is.

    Use it for content that is too large to hold in memory, and `write_atomically` for the rest.

    Args:
        path: The file to write; an existing one is replaced. Missing parent folders are made.

    Yields:
        The path of the temporary file, to be written within the block.

    Raises:
        RecordError: The file cannot be written; the old one, if any, is unchanged.
    """
    try:
        target = Path(os.path.realpath(path)) if path.is_symlink() else path
        with _copied_to(path) if is_special(path) else _renamed_to(target) as temporary:
            yield temporary
    except OSError as error:
        raise RecordError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def unfinished(folder: Path, name: str) -> Iterator[tuple[Path, int]]:
    """Yield the temporary files in a folder for files named `name`, each with the process that writes it.

    Args:
        folder: The folder of the files.
        name: The name without its suffix, of at most 100 characters; a glob pattern.
    """
    for path in folder.glob(f".{name}-*{_TEMPORARY}"):
        *_, process, _ = path.stem.rsplit("-", 2)
        if process.isdecimal():
            yield path, int(process)


def check_writable(path: Path) -> None:
    """Check that a file can be written, before hours are spent on its content; nothing is left behind.

    Raises:
        RecordError: The file, or a folder in which it would be made, does not allow it.
    """
    try:
        if is_special(path):
            path.open("wb").close()
        else:
            place = Path(os.path.realpath(path)).parent
            with TemporaryFile(dir=next(each for each in (place, *place.parents) if each.exists())):
                pass
    except OSError as error:
        raise RecordError(f"cannot write {str(path)!r}: {error.strerror or error}") from error


def check_suffix(path: Path, suffix: str, what: str) -> None:
    """Check that a file to be written has the suffix of its content, or none; devices may have any name.

    Raises:
        UsageError: It has another suffix.

    Example:
        >>> check_suffix(Path("net"), ".onnx", "ONNX"), check_suffix(Path("NET.ONNX"), ".onnx", "ONNX")
        (None, None)
    """
    if path.suffix and path.suffix.lower() != suffix and not is_special(path):
        raise UsageError(
            f"{str(path)!r} has the suffix {path.suffix!r}, and {what} has {suffix!r}; name it "
            f"{path.with_suffix(suffix).name!r}"
        )


EXPORT_SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "state-dict": ".safetensors"}
"""The suffix of each format of exported networks."""


def is_special(path: Path) -> bool:
    """Return True for a device or a pipe, into which one writes without replacing it."""
    return path.exists() and not (path.is_file() or path.is_dir())


@contextmanager
def _copied_to(device: Path) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        temporary = Path(folder, "content")
        temporary.touch()
        yield temporary
        with temporary.open("rb") as source, device.open("wb") as sink:
            shutil.copyfileobj(source, sink)


@contextmanager
def _renamed_to(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.stem[:100]}-{os.getpid()}-{os.urandom(4).hex()}{_TEMPORARY}")
    make_folder(path.parent)
    try:
        # mkstemp and safetensors make files that only their owner can read; results are shared.
        with temporary.open("xb") as held:
            mode = os.fstat(held.fileno()).st_mode
            _lock(held.fileno())  # until it is renamed, so that `remove_stale` leaves it alone
            yield temporary
            with temporary.open("rb+") as file:
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents, so that they are there after a loss of power too."""
    if path.is_dir():
        return
    missing = [*takewhile(lambda folder: not folder.exists(), (path, *path.parents))]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Write the names in a folder to disk: after a rename, the file is there but its name may be lost."""
    with suppress(OSError):  # some file systems cannot
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time run the block, on every machine that shares the folder of the file `path`.

    The lock is the kernel's, so it ends with its process, which the file names. It is never broken: a process
    that was stopped may go on. On a file system without locks the block runs without one.

    Raises:
        RecordError: The file cannot be made, or one other process has held the lock for `LOCK_WAIT` seconds.
    """
    try:
        make_folder(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise RecordError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    try:
        taken, end = -1, 0.0
        while not _lock(descriptor):
            if (written := os.fstat(descriptor).st_mtime_ns) != taken:  # processes take turns
                taken, end = written, time.monotonic() + LOCK_WAIT
            if time.monotonic() >= end:
                holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
                raise RecordError(
                    f"{holder} has held the lock {str(path)!r} for {LOCK_WAIT:g} s; "
                    "continue that process (kill -CONT), or end it"
                )
            time.sleep(_LOCK_INTERVAL)
        with suppress(OSError):  # a full disk
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{platform.node()}, process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock an open file; return False if another process has it, and True if there are no locks here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def remove_stale(folder: Path) -> int:
    """Delete the temporary files below `folder` that killed processes have left; return their number.

    Those that a process is writing, here or on another machine, are locked and stay.
    """
    removed = 0
    for place, _, names in os.walk(folder):
        for name in names:
            if name.startswith(".") and name.endswith(_TEMPORARY):
                with suppress(OSError), Path(place, name).open("rb+") as file:
                    if _lock(file.fileno()):
                        Path(place, name).unlink()
                        removed += 1
    return removed
