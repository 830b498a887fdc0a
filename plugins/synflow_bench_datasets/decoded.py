"""Images decoded once and kept in one file."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from synflow_bench import Split, Splits
from synflow_bench.errors import DataError
from synflow_bench_datasets.photographs import opened

THREADS = 8
"""Pillow decodes without the interpreter's lock."""


class NotDecodedError(Exception):
    """What is wrong with a file of decoded images, to be read after its name."""


def decode(paths: Sequence[str], shape: tuple[int, int, int]) -> Tensor:
    """The images at `paths` as (N, *shape) uint8; `DataError` for one that is none or of another size."""
    images = torch.empty(len(paths), *shape, dtype=torch.uint8)

    def read(index: int) -> None:
        pixels = np.asarray(opened(paths[index]))
        if pixels.shape != (*shape[1:], shape[0]):
            height, width = pixels.shape[:2]
            raise DataError(
                f"{paths[index]} is damaged: it is {width}x{height} instead of {shape[2]}x{shape[1]}"
            )
        images[index] = torch.from_numpy(pixels.copy()).permute(2, 0, 1)

    with ThreadPoolExecutor(THREADS) as pool:
        deque(pool.map(read, range(len(paths))), maxlen=0)
    return images


def write_decoded(path: Path, splits: Splits) -> None:
    """Write to a temporary file and rename: a file that is there is whole.

    Where the disk does not allow it nothing is kept, and the images are decoded again the next time.
    """
    tensors = {
        f"{name}.{field}": getattr(split, field)
        for name, split in (("train", splits.train), ("test", splits.test))
        for field in ("images", "labels")
    }
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError, SafetensorError):
        save_file(tensors, aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.chmod(path.parent.stat().st_mode & 0o666)  # whoever may read the folder may read it
        aside.replace(path)
    with suppress(OSError):
        aside.unlink(missing_ok=True)


def read_decoded(path: Path, sizes: tuple[int, int], shape: tuple[int, int, int]) -> Splits:
    """Read what `write_decoded` wrote; raises `NotDecodedError` for anything else."""
    try:
        tensors = load_file(path)
        splits = [Split(tensors[f"{name}.images"], tensors[f"{name}.labels"]) for name in ("train", "test")]
    except (OSError, SafetensorError, KeyError) as error:
        raise NotDecodedError("is no whole file of decoded images") from error
    for split, size in zip(splits, sizes, strict=True):
        if tuple(split.images.shape) != (size, *shape) or split.labels.shape != (size,):
            raise NotDecodedError(f"holds {tuple(split.images.shape)} where {(size, *shape)} belongs")
    return Splits(*splits)
