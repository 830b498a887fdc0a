"""Decoded images in one file, so that they are decoded only once; its checksum is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from synflow_bench import Split, Splits
from synflow_bench.errors import RecordError
from synflow_bench.files import replacement
from synflow_bench_datasets.images import InvalidFileError

_PARTS = ("train", "test")
_CHECKSUM = "sha256"


def write_decoded(path: Path, parts: Iterable[tuple[Any, Any]]) -> None:
    """Write a complete file or none.

    If the disk does not allow it, nothing is kept, and the next load decodes again.

    Args:
        path: The file.
        parts: Images (N, C, H, W) uint8 and labels (N,) int64 as NumPy arrays, for training and for testing.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays: dict[str, Any] = {}
    for name, (images, labels) in zip(_PARTS, parts, strict=True):
        arrays |= {f"{name}.images": images, f"{name}.labels": labels}
    with suppress(RecordError, SafetensorError), replacement(path) as temporary:
        save_file(arrays, temporary, {_CHECKSUM: _digest(arrays)})


def read_decoded(path: Path, sizes: tuple[int, int], shape: tuple[int, ...]) -> Splits:
    """Read a file of `write_decoded`.

    Args:
        path: The file.
        sizes: The numbers of images for training and for testing.
        shape: The shape (C, H, W) of an image.

    Raises:
        InvalidFileError: It is not complete, was changed, has no checksum, or has other images.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            written = (file.metadata() or {}).get(_CHECKSUM)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no mapping
        splits = [Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in _PARTS]
    except (OSError, SafetensorError, KeyError) as error:
        raise InvalidFileError("is not a complete file of decoded images") from error
    for split, size in zip(splits, sizes, strict=True):
        if tuple(split.images.shape) != (size, *shape) or split.labels.shape != (size,):
            raise InvalidFileError(f"holds {tuple(split.images.shape)} instead of {(size, *shape)}")
    if written is None:
        raise InvalidFileError("is from an older version, without a checksum")
    if _digest({name: tensor.numpy() for name, tensor in tensors.items()}) != written:
        raise InvalidFileError("was changed after it was written: its sha256 differs")
    return Splits(*splits)


def _digest(arrays: Mapping[str, Any]) -> str:
    digest = sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(memoryview(arrays[name]).cast("B"))
    return digest.hexdigest()
