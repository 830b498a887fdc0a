"""Reading archives of records from anywhere, in a stream, within bounds, and to the last byte.

An archive is a gzipped tar of JSON files, and of masks and weights that were kept with them. It is only read
in memory and never extracted, so that no name or link in it can point outside a folder. Of tarfile only the
parser of headers is used: its reader takes headers of any size into memory, expands sparse files, and ends
without a word at a damaged header.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from tarfile import TarInfo

from synflow_bench.errors import RecordError, is_plain_name, printable
from synflow_bench.files import is_clutter
from synflow_bench.records.record import LARGEST

MOST_MEMBERS = 10_000_000
"""The files and folders of an archive at most."""

MOST_BYTES = 2**40
"""The bytes of an archive at most, unpacked."""

_LONGEST_HEADER = 2**16
"""The bytes at most of a header that holds a long name."""
_LONG_NAME = {tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE}
_OTHER_HEADERS = {tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE}
_WITHOUT_CONTENT = {tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE}
_PAX_NAME = re.compile(rb"\d{1,6} path=([^\n]*)\n")
_BLOCK = tarfile.BLOCKSIZE
_NO_DATA = bytes(_BLOCK)
_NO_GZIP = "Not a gzipped file"
"""The beginning of the error of `gzip` for other files; for a wrong checksum it raises the same class."""


def read_archive(
    path: Path, is_wanted: Callable[[str], bool] | None = None, largest: int = LARGEST
) -> Iterator[tuple[str, bytes]]:
    """Yield files of an archive: name, content.

    Args:
        path: The archive.
        is_wanted: Called with the name of a file; False to skip it. By default records are wanted.
        largest: The bytes at most of a file that is wanted.

    Raises:
        RecordError: The archive is damaged, incomplete, larger than an archive of records is, or has content
            that would be left out.
    """
    try:
        with gzip.open(path) as unpacked:
            yield from _members(_Stream(unpacked), is_wanted or is_record, largest)
    except (_DamagedError, tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
        reason = printable(str(error)) or "it is cut short"
        if isinstance(error, gzip.BadGzipFile) and reason.startswith(_NO_GZIP):
            raise RecordError(
                f"{str(path)!r} is not an archive of records; name one (.tar.gz), or a results folder"
            ) from error
        raise RecordError(f"cannot read archive {str(path)!r}: {reason}") from error


class _DamagedError(Exception):
    """The reason why an archive cannot be read."""


class _Stream:
    """The unpacked bytes of an archive, which are counted."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self._file = file
        self._count = 0

    def blocks(self, size: int) -> bytes:
        """Read `size` bytes and the rest of their last block."""
        padded = self._counted(size)
        content = self._file.read(padded)
        if len(content) != padded:
            raise _DamagedError("it is cut short")
        return content[:size]

    def skip(self, size: int) -> None:
        """Pass over `size` bytes and the rest of their last block."""
        left = self._counted(size)
        while left:
            passed = len(self._file.read(min(left, 2**20)))
            if not passed:
                raise _DamagedError("it is cut short")
            left -= passed

    def _counted(self, size: int) -> int:
        padded = -(-size // _BLOCK) * _BLOCK
        self._count += padded
        if self._count > MOST_BYTES:
            raise _DamagedError(f"it has more than {MOST_BYTES} bytes")
        return padded

    def end(self) -> None:
        """Read to the end, where tar has only zeros, and gzip a checksum."""
        while rest := self._file.read(2**20):
            if rest.strip(b"\0"):
                raise _DamagedError("it has more content after its end; split it into several archives")


def _members(stream: _Stream, is_wanted: Callable[[str], bool], largest: int) -> Iterator[tuple[str, bytes]]:
    name = None
    for _ in range(MOST_MEMBERS):
        block = stream.blocks(_BLOCK)
        if block == _NO_DATA:
            stream.end()
            return
        header = TarInfo.frombuf(block, "utf-8", "surrogateescape")
        wanted = header.isreg() and is_wanted(name or header.name)
        limit = _LONGEST_HEADER if header.type in _LONG_NAME | _OTHER_HEADERS else MOST_BYTES
        if not 0 <= header.size <= (largest if wanted else limit):
            raise _DamagedError(f"{header.name[:100]!r} has {header.size} bytes, which is no record")
        if header.type in _LONG_NAME:
            name = _long_name(stream.blocks(header.size), header.type) or name
        elif header.type in _OTHER_HEADERS:
            stream.blocks(header.size)
        elif header.type in _WITHOUT_CONTENT:
            name = None
        elif header.isreg() and header.type != tarfile.GNUTYPE_SPARSE:
            if wanted:
                yield name or header.name, stream.blocks(header.size)
            else:
                stream.skip(header.size)
            name = None
        else:
            raise _DamagedError(f"{header.name[:100]!r} is no file (its type is {header.type!r})")
    raise _DamagedError(f"it has more than {MOST_MEMBERS} members")


def _long_name(content: bytes, kind: bytes) -> str | None:
    """Return the name in a header of GNU's or of POSIX's kind, if there is one."""
    if kind == tarfile.XHDTYPE:
        found = _PAX_NAME.search(content)
        if found is None:
            return None
        content = found[1]
    return content.rstrip(b"\0").decode("utf-8", "surrogateescape")


def is_record(name: str) -> bool:
    """Return True if a member of this name is to be a record, False for what systems leave behind."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..", ".")]
    if any(is_clutter(part) and not is_plain_name(part) for part in parts[:-1]):
        return False
    return (
        bool(parts)
        and parts[-1].endswith(".json")
        and parts[-1] != "store.json"
        and not is_clutter(parts[-1])
    )
