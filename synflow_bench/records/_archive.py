"""Records in one file to hand on: a tar archive, gzipped, that is only ever read in memory.

Nothing is extracted: names in an archive decide nothing, so that none can climb out of a folder.
"""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from synflow_bench.errors import RecordError

LARGEST = 64 * 2**20
"""Bytes of a record at most; a larger member is refused before it is read."""


def write_archive(file: IO[bytes], members: Iterable[tuple[str, bytes]]) -> None:
    """Write members (name, content) to `file`; equal members in equal order give equal bytes."""
    with (
        gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """The JSON files of an archive: name, content. Raises `RecordError` if it is damaged or no archive."""
    try:
        with gzip.open(path) as unpacked:
            with tarfile.open(fileobj=unpacked, mode="r|") as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith(".json"):
                        yield member.name, _content(archive, member, path)
            # The end has the checksum; an archive cut short between two members shows only here.
            while unpacked.read(2**20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise RecordError(f"cannot read archive {str(path)!r}: {error or 'it is cut short'}") from error


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    if member.size > LARGEST:
        raise RecordError(f"{member.name!r} in {str(path)!r} has {member.size} bytes, which is no record")
    file = archive.extractfile(member)
    content = file.read() if file else b""
    if len(content) != member.size:
        raise RecordError(f"archive {str(path)!r} is cut short in {member.name!r}")
    return content
