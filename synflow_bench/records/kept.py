"""Kept files: the masks and the weights of a cell, beside its record. Imports no torch.

They are named like the record, `<key>.masks.safetensors` and `<key>.weights.safetensors`, and say in their
metadata to which content of the record they belong: after `run --force` a file may belong to an older one.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, get_args

from synflow_bench.errors import RecordError, UnknownNameError
from synflow_bench.files import read_regular, write_atomically
from synflow_bench.records.mask_files import file_facts, sha256_of_masks, tensors_digest, unpack_masks
from synflow_bench.records.record import Record
from synflow_bench.suites import canonical

Kind = Literal["masks", "weights"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SUFFIX = ".safetensors"

LARGEST_KEPT = 2**32
"""The bytes at most of a kept file that is exported or imported."""


def read_kinds(text: str) -> tuple[Kind, ...]:
    """Read what a run should keep, such as `masks,weights`.

    Raises:
        UnknownNameError: A part of it is something else.

    Example:
        >>> read_kinds("weights, masks")
        ('masks', 'weights')
    """
    given = {part.strip() for part in text.split(",")}
    for name in sorted(given - set(KINDS)):
        raise UnknownNameError("part of a result", name, KINDS)
    return tuple(kind for kind in KINDS if kind in given)


def kept_path(record_path: Path, kind: Kind) -> Path:
    """Return the path of a kept file, whether it exists or not."""
    return record_path.with_suffix(f".{kind}{SUFFIX}")


def facts_of(record: Record) -> dict[str, Any]:
    """Return what a kept file says of its record."""
    return {"key": record.key, "content": content_digest(record)}


def read_kept(record: Record, record_path: Path, kind: Kind) -> bytes | None:
    """Return the content of a kept file; None if there is none, or if it belongs to another record.

    Raises:
        RecordError: The file cannot be read, or is damaged.
    """
    path = kept_path(record_path, kind)
    try:
        data = read_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(f"cannot read {str(path)!r}: {error.strerror or error}; delete it") from error
    try:
        return data if belongs(data, record, kind) else None
    except RecordError as error:
        raise RecordError(f"{str(path)!r} is damaged: {error}; restore it or delete it") from error


def belongs(data: bytes, record: Record, kind: Kind) -> bool:
    """Return True if the content of a kept file belongs to `record`.

    Masks must have the recorded hash, and weights the one that is in their file.

    Raises:
        RecordError: The file is damaged.
    """
    facts = file_facts(data)
    if any(facts.get(name) != value for name, value in facts_of(record).items()):
        return False
    if kind == "masks" and sha256_of_masks(unpack_masks(data)) != record.masks:
        raise RecordError("its masks are not the recorded ones")
    if kind == "weights" and facts.get("tensors") != tensors_digest(data):
        raise RecordError("its weights have another sha256")
    return True


def kept_files(record: Record, record_path: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield the path and the content of every file that was kept for `record`.

    Raises:
        RecordError: A file cannot be read, or is damaged.
    """
    for kind in KINDS:
        data = read_kept(record, record_path, kind)
        if data is not None:
            yield kept_path(record_path, kind), data


def split_name(name: str) -> tuple[str, Kind] | None:
    """Split the name of a kept file into its key and its kind; None for another file.

    Example:
        >>> split_name("0acc086c2895760c.masks.safetensors")
        ('0acc086c2895760c', 'masks')
    """
    key, _, rest = name.partition(".")
    found = [kind for kind in KINDS if rest == f"{kind}{SUFFIX}"]
    return (key, found[0]) if found else None


def put_kept(data: bytes, record: Record, record_path: Path, kind: Kind) -> None:
    """Write a kept file if it belongs to `record`.

    Raises:
        RecordError: The file is damaged, or cannot be written.
    """
    if belongs(data, record, kind):
        write_atomically(kept_path(record_path, kind), data)


def content_digest(record: Record) -> str:
    """Return a digest of everything that must be equal for equal cells: not timing, provenance and label."""
    result = record.result
    result["cell"]["pruner"].pop("label", None)
    return sha256(canonical(result).encode()).hexdigest()
