"""A folder written whole or not at all, and never over what others put there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from synflow_bench.errors import RecordError, UsageError

MARKER = "synflow-bench-site.json"
"""Names every file of the site, so that writing it anew cannot take anything else away."""


def check_folder(output: Path, force: bool) -> None:
    """Raise `UsageError` unless a site may be written at `output`."""
    named = repr(str(output))
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError(f"{named} is a file; a site needs a folder, one page a name that ends in .html")
    found = _files(output)
    if not any(output.iterdir()):
        return
    ours = _listed(output)
    if ours is None:
        raise UsageError(f"{named} is not empty and no site of synflow-bench; name a new or an empty folder")
    strange = sorted(found - ours - {MARKER})
    if strange:
        raise UsageError(f"{named} holds {strange[0]!r}, which is not of its site; move it away first")
    if not force:
        raise UsageError(f"{named} holds a site already; add --force to write it anew")


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
    """Write `files` (path, text) to a temporary folder, put it in the place of `output`, and count them.

    Raises `RecordError` where that cannot be written; the old folder then stays.
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
