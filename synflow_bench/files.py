"""Atomic writes, with the permissions that the user gives new files; and names that systems leave behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from synflow_bench.errors import RecordError

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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing. Missing parent folders are made.

    At every moment the old file or the new one is at `path`, even if the process is killed.

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

    After an error it is deleted. Use it for content that is too large to hold in memory, and
    `write_atomically` for the rest.

    Args:
        path: The file to write; an existing one is replaced. Missing parent folders are made.

    Yields:
        The path of the temporary file, to be written within the block.

    Raises:
        RecordError: The file cannot be written; the old one, if any, is unchanged.
    """
    temporary = path.with_name(f".{path.stem}-{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp and safetensors make files that only their owner can read; results are shared.
        with temporary.open("xb") as file:
            mode = os.fstat(file.fileno()).st_mode
        yield temporary
        with temporary.open("rb+") as file:
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
