"""Ablations change what they say and nothing else."""

from __future__ import annotations

import torch

from synflow_bench.pruning import Masks, random_inputs, random_labels, shuffle_masks


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shuffling_keeps_every_layers_count_and_moves_the_positions() -> None:
    masks = Masks({"a": torch.rand(20, 30, generator=generator()) < 0.2, "b": torch.arange(50) < 5})
    shuffled = shuffle_masks(masks, generator())
    assert shuffled.layer_kept == masks.layer_kept
    assert {name: mask.shape for name, mask in shuffled.items()} == {n: m.shape for n, m in masks.items()}
    assert all(not torch.equal(shuffled[name], masks[name]) for name in masks)


def test_shuffled_positions_are_uniform() -> None:
    masks = Masks({"a": torch.arange(10) < 3})
    own = generator()
    hits = torch.stack([shuffle_masks(masks, own)["a"].int() for _ in range(3000)]).sum(0)
    spread = (3000 * 0.3 * 0.7) ** 0.5
    assert ((hits - 900).abs() < 4 * spread).all()


def test_equal_seeds_shuffle_equally() -> None:
    masks = Masks({"a": torch.arange(1000) < 100})
    assert shuffle_masks(masks, generator(1)) == shuffle_masks(masks, generator(1))
    assert shuffle_masks(masks, generator(1)) != shuffle_masks(masks, generator(2))


def test_random_labels_keep_the_inputs_and_use_every_class() -> None:
    inputs, labels = torch.randn(400, 2, generator=generator()), torch.zeros(400, dtype=torch.long)
    same, drawn = random_labels((inputs, labels), 4, generator())
    assert same is inputs
    assert (drawn.shape, drawn.dtype) == (labels.shape, torch.long)
    assert (drawn.bincount(minlength=4) - 100).abs().max() < 4 * (400 * 0.25 * 0.75) ** 0.5
    assert not labels.any()


def test_random_inputs_keep_the_labels_and_are_standard_normal() -> None:
    inputs, labels = torch.full((100, 1, 8, 8), 7.0, dtype=torch.float64), torch.arange(100)
    drawn, same = random_inputs((inputs, labels), generator())
    assert same is labels
    assert (drawn.shape, drawn.dtype) == (inputs.shape, torch.float64)
    assert abs(float(drawn.mean())) < 4 / 6400**0.5
    assert abs(float(drawn.var()) - 1) < 4 * (2 / 6400) ** 0.5
    assert (inputs == 7).all()
