"""Masks as small files: one bit per weight, compressed, in the format of safetensors. Imports no torch.

A file has one tensor of bytes per mask: the mask in the order of its entries, eight to a byte, the first in
the highest bit, compressed with zlib. The metadata has the shapes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from hashlib import sha256
from math import prod
from typing import TYPE_CHECKING, Any

from synflow_bench.errors import RecordError, one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[np.bool_]]

_FACTS = "synflow_bench"
"""The one entry of a file's metadata, JSON: several entries would be written in any order."""
_SHAPES = "shapes"
_LARGEST = 2**34
"""The weights of a network at most: a damaged file must not ask for all memory."""


def sha256_of_masks(masks: Arrays) -> str:
    """Return the hash of the names, shapes and bits of masks that records hold, in hex."""
    import numpy as np

    hasher = sha256()
    for name in sorted(masks):
        hasher.update(f"{name}{tuple(masks[name].shape)}".encode())
        hasher.update(np.packbits(masks[name]).tobytes())
    return hasher.hexdigest()


def pack_masks(masks: Arrays, facts: Mapping[str, Any]) -> bytes:
    """Return the content of a file of masks; equal masks give equal bytes.

    Args:
        masks: Bool arrays by name.
        facts: Further metadata of the file, which `file_facts` returns.

    Example:
        >>> import numpy as np
        >>> data = pack_masks({"weight": np.array([[True, False], [True, True]])}, {})
        >>> unpack_masks(data)["weight"].tolist()
        [[True, False], [True, True]]
    """
    import numpy as np
    from safetensors.numpy import save

    shapes = {name: masks[name].shape for name in masks}
    packed = {
        name: np.frombuffer(zlib.compress(np.packbits(mask).tobytes(), 9), dtype=np.uint8)
        for name, mask in masks.items()
    }
    return save(packed, metadata_of({**facts, _SHAPES: shapes}))


def metadata_of(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a safetensors file with these facts, which are plain JSON values."""
    return {_FACTS: json.dumps(facts, sort_keys=True)}


def unpack_masks(data: bytes) -> dict[str, NDArray[np.bool_]]:
    """Return the masks in the content of a file of `pack_masks`, as bool arrays by name.

    Raises:
        RecordError: It is none, or is damaged.
    """
    from safetensors.numpy import load

    try:
        shapes = {name: tuple(shape) for name, shape in file_facts(data)[_SHAPES].items()}
        packed = load(data)
        if shapes.keys() != packed.keys() or sum(map(prod, shapes.values())) > _LARGEST:
            raise ValueError("its shapes do not fit its masks")  # noqa: TRY301
        return {name: _unpacked(packed[name].tobytes(), shape) for name, shape in shapes.items()}
    except RecordError:
        raise
    except Exception as error:  # the library raises errors of many kinds for files that are damaged
        raise RecordError(f"not a file of kept masks: {one_line(error, with_type=False)}") from error


def _unpacked(data: bytes, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    import numpy as np

    size = prod(shape)
    bits = zlib.decompressobj().decompress(data, -(-size // 8) + 1)
    if len(bits) != -(-size // 8):
        raise ValueError(f"a mask of {shape} has {len(bits)} bytes")
    return np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=size).astype(np.bool_).reshape(shape)


def tensors_digest(data: bytes) -> str:
    """Return the sha256 of the bytes of all tensors in the content of a safetensors file, in hex."""
    return sha256(memoryview(data)[8 + int.from_bytes(data[:8], "little") :]).hexdigest()


def is_packed(data: bytes) -> bool:
    """Return True if the content of a file was made by `pack_masks`."""
    try:
        return _SHAPES in file_facts(data)
    except RecordError:
        return False


def file_facts(data: bytes) -> dict[str, Any]:
    """Return the facts in the metadata of the content of a safetensors file.

    Raises:
        RecordError: It is none.
    """
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        facts: dict[str, Any] = json.loads(header.get("__metadata__", {}).get(_FACTS, "{}"))
    except (ValueError, AttributeError) as error:
        raise RecordError("not a safetensors file") from error
    return facts
