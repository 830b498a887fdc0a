"""No tensor of a score stays behind on the CPU: the meta device refuses any other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from synflow_bench import Problem
from synflow_bench.host import Host
from synflow_bench.pruning import resolve_pruner
from synflow_bench.suites import PrunerSpec, PruningOptions


@pytest.mark.parametrize("name", ["random", "magnitude", "snip", "grasp", "synflow"])
def test_scores_are_taken_whole_on_the_device_of_the_network(name: str) -> None:
    with torch.device("meta"):
        layers = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        model = nn.Sequential(*layers)
        examples = torch.empty(9, 2, 4, 4), torch.empty(9, dtype=torch.int64)
    pruner, _ = resolve_pruner(Host.load().pruners.get(name), PrunerSpec(name=name))
    problem = Problem.of(
        model,
        input_shape=(2, 4, 4),
        num_classes=3,
        generator=torch.Generator(),
        options=PruningOptions(prune_bias=True, prune_batchnorm=True),
        examples=examples,
    )
    scores = pruner.score(problem)
    assert scores.keys() == problem.parameters.keys()
    for layer, score in scores.items():
        assert score.device.type == "meta"
        assert score.shape == problem.parameters[layer].shape
