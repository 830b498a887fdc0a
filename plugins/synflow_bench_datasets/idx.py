"""The idx format of MNIST's files: a magic number, the sizes, then the bytes."""

from __future__ import annotations

import gzip
import struct
import zlib
from math import prod
from pathlib import Path

import torch
from torch import Tensor

UNSIGNED_BYTE = 8

PIECE = 1 << 20
"""Bytes that are read at a time."""


class NotIdxError(Exception):
    """What is wrong with a file, to be read after its name."""


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor in an idx file, gzipped if its name ends in `.gz`, of as many dimensions as named.

    Raises `NotIdxError` for a file that cannot be read, has another magic number or not the length it claims.
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits", 1998.
    """
    content = _content(path)
    header = 4 * (1 + dimensions)
    if content[:4] != bytes((0, 0, UNSIGNED_BYTE, dimensions)) or len(content) < header:
        raise NotIdxError(f"is no idx file of bytes in {dimensions} dimensions")
    sizes = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) - header != prod(sizes):
        raise NotIdxError(f"holds {len(content) - header} bytes where its header says {prod(sizes)}")
    return torch.frombuffer(content, dtype=torch.uint8)[header:].reshape(sizes)


def _content(path: Path) -> bytearray:
    """All bytes of a file, unpacked by pieces: packed and unpacked are never both in memory."""
    content = bytearray()
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            while piece := file.read(PIECE):
                content += piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise NotIdxError("is no whole gzip file") from error
    except OSError as error:
        raise NotIdxError(f"cannot be read: {error.strerror}") from error
    return content
