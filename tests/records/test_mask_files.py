"""Files of masks: one bit per weight, compressed, with the hash that records have."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from synflow_bench import Masks
from synflow_bench.errors import RecordError
from synflow_bench.records.mask_files import file_facts, is_packed, pack_masks, sha256_of_masks, unpack_masks

shapes = st.lists(st.lists(st.integers(1, 7), max_size=4).map(tuple), min_size=1, max_size=4)


@settings(max_examples=40)
@given(shapes, st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_masks_come_back_and_equal_masks_give_equal_bytes(
    drawn: list[tuple[int, ...]], seed: int, density: float
) -> None:
    numbers = np.random.default_rng(seed)
    masks = {f"layer{i}.weight": numbers.random(shape) < density for i, shape in enumerate(drawn)}
    masks = {name: np.asarray(mask) for name, mask in masks.items()}
    data = pack_masks(masks, {"key": "a"})
    assert data == pack_masks(dict(reversed(masks.items())), {"key": "a"})
    assert file_facts(data)["key"] == "a"
    found = unpack_masks(data)
    assert found.keys() == masks.keys()
    assert all(np.array_equal(found[name], mask) for name, mask in masks.items())
    assert sha256_of_masks(found) == Masks.of_arrays(masks).sha256


def test_the_hash_is_that_of_names_shapes_and_bits_in_order() -> None:
    bits = bytes([0b10100000]), bytes([0b01000000])
    expected = hashlib.sha256(b"a(3,)" + bits[0] + b"b(1, 2)" + bits[1]).hexdigest()
    masks = {"b": np.array([[False, True]]), "a": np.array([True, False, True])}
    assert sha256_of_masks(masks) == expected


def test_a_mask_of_one_weight_in_a_hundred_takes_less_than_a_bit_per_weight() -> None:
    mask = np.random.default_rng(0).random((500, 400)) < 0.01
    assert len(pack_masks({"weight": mask}, {})) < mask.size / 8 / 2


def test_masks_load_reads_packed_files_and_those_of_save(tmp_path: Path) -> None:
    masks = Masks({"weight": torch.arange(12).view(3, 4) % 5 == 0})
    packed, plain = tmp_path / "packed.safetensors", tmp_path / "plain.safetensors"
    packed.write_bytes(pack_masks({"weight": masks["weight"].numpy()}, {}))
    masks.save(plain)
    assert not is_packed(plain.read_bytes())
    assert Masks.load(packed) == Masks.load(plain) == masks


@pytest.mark.parametrize("damage", ["cut", "nothing", "text", "plain", "bits", "huge"])
def test_other_files_are_refused(damage: str, tmp_path: Path) -> None:
    data = pack_masks({"weight": np.ones((40, 30), dtype=bool)}, {})
    if damage == "plain":
        save_file({"weight": torch.ones(3)}, tmp_path / "plain")
    with pytest.raises(RecordError):
        unpack_masks(
            {
                "cut": data[:-3],
                "nothing": b"",
                "text": b"no tensors here",
                "plain": (tmp_path / "plain").read_bytes() if damage == "plain" else b"",
                "bits": data.replace(b"[40, 30]", b"[41, 30]"),
                "huge": data.replace(b"[40, 30]", b"[9999999, 99999999]"),
            }[damage]
        )
