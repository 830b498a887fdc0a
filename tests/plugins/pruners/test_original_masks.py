"""Masks of whole networks, equal to those of the paper's own code to the last weight.

`data/original_masks.json` holds numbers and hashes that the code of Tanaka et al. 2020 (arXiv 2006.05467)
gave in float64, with the weights and data that are made here, and with exactly round(n / compression) weights
kept in every round.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synflow_bench.pruning import Examples, Masks, Problem, Pruner, resolve_pruner, run_pruner
from synflow_bench.suites import PrunerSpec
from synflow_bench_models.resnet import lottery_resnet20
from synflow_bench_models.small import fc
from synflow_bench_models.vgg import lottery_vgg16_bn

Case = dict[str, Any]
NETWORKS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "fc": (fc, (1, 28, 28)),
    "lottery/resnet20": (lottery_resnet20, (3, 32, 32)),
    "lottery/vgg16-bn": (lottery_vgg16_bn, (3, 32, 32)),
}
CASES: list[Case] = json.loads((Path(__file__).parent / "data" / "original_masks.json").read_text())


def parameter(case: Case) -> Any:
    marks = [pytest.mark.slow] if case["model"] == "lottery/vgg16-bn" else []
    return pytest.param(case, id=f"{case['model']}-{case['pruner']}-{case['compression']}", marks=marks)


def with_drawn_weights(model: nn.Module) -> nn.Module:
    """Give a network float64 weights from a generator that is the same in all versions of numpy."""
    model, draws = model.double(), np.random.RandomState(0)
    for name, weight in model.named_parameters():
        drawn = torch.from_numpy(draws.standard_normal(tuple(weight.shape)))
        if weight.dim() == 1:
            weight.data.copy_(1 + 0.1 * drawn if name.endswith("weight") else 0.1 * drawn)
        else:
            weight.data.copy_(drawn * (2 / weight[0].numel()) ** 0.5)
    return model


def drawn_data(shape: tuple[int, ...], number: int) -> Examples:
    inputs: Tensor = torch.from_numpy(np.random.RandomState(1).standard_normal((number, *shape)))
    return inputs, torch.arange(number) % 10


def digest(masks: Masks) -> str:
    """The sha256 of all bits in the order of the parameters."""
    bits = torch.cat([mask.flatten() for mask in masks.values()]).numpy()
    return sha256(np.packbits(bits).tobytes()).hexdigest()


@pytest.mark.parametrize("case", [parameter(case) for case in CASES])
def test_masks_are_those_of_the_papers_code(case: Case, pruner_class: Callable[[str], type[Pruner]]) -> None:
    build, shape = NETWORKS[case["model"]]
    spec = PrunerSpec.model_validate(case["pruner"])
    pruner = resolve_pruner(pruner_class(spec.name), spec)[0]
    problem = Problem.of(
        with_drawn_weights(build(shape, 10)),
        input_shape=shape,
        num_classes=10,
        generator=torch.Generator().manual_seed(0),
        examples=drawn_data(shape, case["examples"]) if pruner.needs_data else None,
    )
    masks = run_pruner(pruner, problem, 1 / case["compression"]).masks
    assert list(masks.layer_kept.values()) == case["kept"]
    assert digest(masks) == case["masks"]


OFFICIAL: list[Case] = json.loads((Path(__file__).parent / "data" / "official.json").read_text())["cases"]
LARGE = [case for case in OFFICIAL if "vgg16_bn" in case]


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE, ids=lambda case: f"{case['pruner']}-{case['compression']}")
def test_layers_of_vgg16_keep_as_many_weights_as_with_official_codes(
    case: Case, pruner_class: Callable[[str], type[Pruner]]
) -> None:
    """Counts of random masks are means over `runs` of the official code, which `spread` around them."""
    build, shape = NETWORKS["lottery/vgg16-bn"]
    model, pruner = with_drawn_weights(build(shape, 10)), pruner_class(case["pruner"])()
    random = "vgg16_bn_spread" in case
    kept = []
    for seed in range(2 if random else 1):
        generator = torch.Generator().manual_seed(seed)
        problem = Problem.of(model, input_shape=shape, num_classes=10, generator=generator)
        kept.append(list(run_pruner(pruner, problem, 1 / case["compression"]).masks.layer_kept.values()))
    spreads = case["vgg16_bn_spread"] if random else [0.0] * len(case["vgg16_bn"])
    for mine, official, spread in zip(np.mean(kept, axis=0), case["vgg16_bn"], spreads, strict=True):
        noise = 4 * spread * (1 / len(kept) + 1 / case.get("runs", 1)) ** 0.5
        assert mine == pytest.approx(official, abs=noise + case["most"])
