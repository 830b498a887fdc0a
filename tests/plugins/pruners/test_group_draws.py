"""Pruners that draw at random draw groups of weights as such, whatever their size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.host import Host
from synflow_bench.protocols import revisions_of
from synflow_bench.suites import Setting
from synflow_bench_pruners.random import Random
from synflow_bench_pruners.sampled import Sampled

SEEDS = 4


def network() -> nn.Module:
    """Return a network with kernels of 49 weights and of 1, and channels of 113 weights and of 67."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 64, 7), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(64, 3)),
    )
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.999, 1.001)
    return model


def kept_at(masks: sfb.Masks, granularity: str) -> tuple[Tensor, Tensor]:
    """Return which large groups, and which small ones, a mask keeps."""
    first, second, last = masks.values()
    if granularity == "kernel":
        return first[:, 0, 0, 0], second.flatten()
    return first.flatten(1).any(1), last.any(0)


@pytest.mark.parametrize("granularity", ["kernel", "channel"])
@pytest.mark.parametrize("pruner", [Random(), Random(rounds=3), Sampled(of="magnitude")], ids=str)
def test_large_and_small_groups_are_kept_equally_often(pruner: sfb.Pruner, granularity: str) -> None:
    model = network()
    options: Any = {"granularity": granularity, "compression": 4, "input_shape": (1, 8, 8)}
    if isinstance(pruner, Sampled):
        options["group_score"] = "mean"  # the scores of all groups are nearly the same
    kept = [kept_at(sfb.prune(model, pruner, seed=seed, **options), granularity) for seed in range(SEEDS)]
    large, small = (torch.cat(each).double().mean() for each in zip(*kept, strict=True))
    assert float(large) == pytest.approx(float(small), abs=0.15)


@pytest.mark.parametrize("granularity", ["weight", "fan-in", "2:4"])
def test_single_weights_are_drawn_as_before(granularity: str) -> None:
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 4))
    options: Any = {"granularity": granularity, "compression": 2}
    kept = [sfb.prune(model, Random(), seed=seed, **options) for seed in range(60)]
    for name, mask in kept[0].items():
        share = torch.stack([masks[name] for masks in kept]).double().mean(0)
        assert share.shape == mask.shape
        # Five standard deviations of a share of 60 draws.
        assert float((share - 0.5).abs().max()) < 0.33


@pytest.mark.parametrize(
    ("pruner", "granularity", "revision"),
    [
        *(("random", "weight", 1), ("random", "fan-in", 1), ("random", "2:4", 1)),
        *(("random", "kernel", 2), ("random", "channel", 2), ("magnitude", "channel", 1)),
        *(("sampled", "weight", 1), ("sampled", "channel", 2)),
    ],
)
def test_only_cells_of_groups_have_new_keys(pruner: str, granularity: str, revision: int) -> None:
    setting = Setting.model_validate(
        {
            "dataset": "digits",
            "model": "fc",
            "recipe": {"epochs": 1},
            "pruning": {"granularity": granularity},
        }
    )
    assert revisions_of(setting, pruner, Host.load()).pruner == revision
