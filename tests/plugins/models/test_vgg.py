"""The VGG networks: published plans, initialization, and how they follow the input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import sqrt

import pytest
import torch
from torch import nn

from synflow_bench.errors import ModelError
from synflow_bench.pruning import prunable_parameters
from synflow_bench.suites import PruningOptions
from synflow_bench_models.vgg import (
    LotteryVGG,
    TinyImagenetVGG,
    lottery_vgg11,
    lottery_vgg11_bn,
    lottery_vgg16,
    lottery_vgg16_bn,
    tinyimagenet_vgg11,
    tinyimagenet_vgg11_bn,
    tinyimagenet_vgg16_bn,
)

PLANS = {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}
COLOR, TINY = (3, 32, 32), (3, 64, 64)
Factory = Callable[..., nn.Module]


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return prunable_parameters(model, PruningOptions())


def size(factory: Factory, shape: tuple[int, int, int], classes: int) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in weights(factory(shape, classes)).values())


def convolutions(depth: int) -> int:
    """Count the weights of the 3x3 convolutions of a published plan, for color images."""
    count, channels = 0, 3
    for width, layers in zip([64, 128, 256, 512, 512], PLANS[depth], strict=True):
        for _ in range(layers):
            count += 9 * channels * width
            channels = width
    return count


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("depth", PLANS)
def test_sizes_are_those_of_the_published_plans(depth: int, batch_norm: bool) -> None:
    assert size(LotteryVGG(depth, batch_norm), COLOR, 10) == convolutions(depth) + 512 * 10
    hidden = 2048 * 1024 + 1024 * 1024 + 1024 * 200
    assert size(TinyImagenetVGG(depth, batch_norm), TINY, 200) == convolutions(depth) + hidden


@pytest.mark.parametrize(
    ("factory", "classes", "published"),
    [
        (lottery_vgg16_bn, 10, 14_715_584),
        (lottery_vgg16_bn, 100, 14_761_664),
        (lottery_vgg16, 10, 14_715_584),
    ],
)
def test_vgg16_has_the_published_number_of_weights(factory: Factory, classes: int, published: int) -> None:
    assert size(factory, COLOR, classes) == published


@pytest.mark.parametrize("depth", PLANS)
def test_depth_is_the_number_of_layers(depth: int) -> None:
    with torch.device("meta"):
        lottery, tiny = weights(LotteryVGG(depth)(COLOR, 10)), weights(TinyImagenetVGG(depth)(TINY, 200))
    assert len(lottery) == depth - 2  # one linear layer where the published plans have three
    assert len(tiny) == depth


@pytest.mark.parametrize("factory", [lottery_vgg11, lottery_vgg11_bn, lottery_vgg16_bn])
def test_lottery_weights_are_kaiming_normal_over_the_fan_in(factory: Factory) -> None:
    torch.manual_seed(0)
    for weight in weights(factory(COLOR, 100)).values():
        n, fan_in = weight.numel(), weight[0].numel()
        # The deviation of n normal draws has a relative error of 1 / sqrt(2 n); five of these are allowed.
        assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=5 / sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * sqrt(2 / fan_in / n)


def test_lottery_weights_are_xavier_normal_on_request() -> None:
    torch.manual_seed(0)
    for weight in weights(lottery_vgg16(COLOR, 100, initialization="xavier")).values():
        n, taps = weight.numel(), weight[0, 0].numel()
        fans = taps * (weight.shape[0] + weight.shape[1])
        assert weight.std().item() == pytest.approx(sqrt(2 / fans), rel=5 / sqrt(2 * n))


def test_another_initialization_is_refused() -> None:
    with pytest.raises(ModelError, match="'orthogonal'; choose 'kaiming' or 'xavier'"):
        lottery_vgg11(COLOR, 10, initialization="orthogonal")


def test_tinyimagenet_convolutions_are_kaiming_normal_over_the_fan_out() -> None:
    torch.manual_seed(0)
    for module in tinyimagenet_vgg11_bn(TINY, 200).modules():
        if isinstance(module, nn.Conv2d):
            n, fan_out = module.weight.numel(), module.weight[:, 0].numel()
            assert module.weight.std().item() == pytest.approx(sqrt(2 / fan_out), rel=5 / sqrt(2 * n))


def test_tinyimagenet_linear_layers_are_normal_with_deviation_a_hundredth() -> None:
    torch.manual_seed(0)
    for module in tinyimagenet_vgg11(TINY, 200).modules():
        if isinstance(module, nn.Linear):
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(0.01, rel=5 / sqrt(2 * n))


@pytest.mark.parametrize(
    "factory",
    [lottery_vgg11, lottery_vgg11_bn, tinyimagenet_vgg11_bn, partial(lottery_vgg11, initialization="xavier")],
)
def test_biases_are_zero_and_batch_norms_neutral(factory: Factory) -> None:
    for module in factory(COLOR, 10).modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))


@pytest.mark.parametrize(
    ("factory", "shape", "needed"),
    [
        (lottery_vgg16, (1, 8, 8), "lottery/vgg16: it needs at least 1x16x16"),
        (lottery_vgg11_bn, (3, 32, 15), "lottery/vgg11-bn: it needs at least 3x16x16"),
        (tinyimagenet_vgg16_bn, (1, 28, 28), "tinyimagenet/vgg16-bn: it needs at least 1x32x32"),
    ],
)
def test_an_input_that_the_pools_would_use_up_is_refused(
    factory: Factory, shape: tuple[int, int, int], needed: str
) -> None:
    with pytest.raises(ModelError, match=f"{'x'.join(map(str, shape))} is too small for {needed}"):
        factory(shape, 10)


@pytest.mark.parametrize(("side", "inputs"), [(16, 512), (28, 512), (32, 512), (63, 512), (64, 2048)])
def test_the_lottery_classifier_follows_the_input(side: int, inputs: int) -> None:
    with torch.device("meta"):
        model = lottery_vgg16((3, side, side), 10)
        assert model(torch.empty(1, 3, side, side)).shape == (1, 10)
    assert weights(model)["classifier.weight"].shape == (10, inputs)
