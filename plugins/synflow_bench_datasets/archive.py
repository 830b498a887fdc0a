"""Unpacking an archive that somebody else has packed."""

from __future__ import annotations

import stat
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath, PureWindowsPath
from zipfile import BadZipFile, ZipFile, ZipInfo


class ArchiveError(Exception):
    """An archive that is none, or has a member that would not stay in the folder it is unpacked to."""


def unpack(archive: Path, folder: Path, wanted: Callable[[str], bool] = lambda _: True) -> None:
    """Unpack the members of a zip file whose names are `wanted` into `folder`.

    Every member is looked at before anything is written. Raises `ArchiveError` for one with an absolute path,
    one that climbs with `..`, a link, and what is no whole zip file.
    """
    try:
        with ZipFile(archive) as packed:
            members = packed.infolist()
            for member in members:
                _check(member)
            packed.extractall(folder, [member for member in members if wanted(member.filename)])
    except (BadZipFile, zlib.error, EOFError) as error:
        raise ArchiveError("it is no whole zip file") from error


def _check(member: ZipInfo) -> None:
    name = member.orig_filename
    for path in (PurePosixPath(name), PureWindowsPath(name)):
        if path.anchor or ".." in path.parts:
            raise ArchiveError(f"its member {name!r} climbs out of the folder")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise ArchiveError(f"its member {name!r} is a link")
