"""A folder that is written completely or not at all, and never over other files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from synflow_bench.errors import RecordError, UsageError

MARKER = "synflow-bench-site.json"
"""The file that lists every file of the site, so that writing it again deletes nothing else."""


def check_folder(output: Path, force: bool) -> None:
    """Check that a site may be written to the folder `output`.

    Raises:
        UsageError: `output` is a file, or it holds other files, or a site and `force` is not set.
    """
    named = repr(str(output))
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"{named} is a file; name a folder, or for a single page a file that ends in .html")
    if not any(output.iterdir()):
        return
    site = _listed(output)
    if site is None:
        raise UsageError(
            f"{named} is not empty and not a site of synflow-bench; name a new or an empty folder"
        )
    strange = sorted(_files(output) - site - {MARKER})
    if strange:
        raise UsageError(f"{named} holds {strange[0]!r}, which is not part of its site; move it away first")
    if not force:
        raise UsageError(f"{named} holds a site already; add --force (force=True) to write it again")


def _files(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if not path.is_dir() or path.is_symlink()
    }


def _listed(folder: Path) -> set[str] | None:
    try:
        return set(json.loads((folder / MARKER).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_folder(output: Path, files: Iterable[tuple[str, str]]) -> int:
    """Write files to a temporary folder, and replace `output` by it.

    Args:
        output: The folder.
        files: The path and the text of each file.

    Returns:
        The number of files.

    Raises:
        RecordError: The folder cannot be written; the old one is unchanged.
    """
    target = output.resolve()
    stem = target.with_name(f".{target.name}-{os.getpid()}-{os.urandom(4).hex()}")
    fresh, old = stem.with_suffix(".tmp"), stem.with_suffix(".old")
    try:
        names = _write(fresh, files)
        if target.exists():
            target.rename(old)
        fresh.rename(target)
    except OSError as error:
        if old.exists() and not target.exists():
            old.rename(target)
        raise RecordError(f"cannot write {str(output)!r}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
    return len(names)


def _write(folder: Path, files: Iterable[tuple[str, str]]) -> list[str]:
    folder.mkdir(parents=True)
    names = []
    for name, text in files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
        names.append(name)
    (folder / MARKER).write_text(json.dumps({"files": sorted(names)}, indent=0) + "\n", encoding="utf-8")
    return names
