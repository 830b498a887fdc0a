"""The residual networks: size, initialization, shortcuts and their prunable scales."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import pytest
import torch
from torch import nn

from synflow_bench.pruning import Masks, Problem, ResidualScale, prunable_parameters, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.resnet import (
    LotteryResNet,
    TinyImagenetResNet,
    lottery_resnet20,
    lottery_resnet32,
    lottery_wide_resnet20,
    tinyimagenet_resnet18,
    tinyimagenet_resnet50,
    tinyimagenet_wide_resnet18,
    tinyimagenet_wide_resnet50,
)
from synflow_bench_pruners.magnitude import Magnitude

BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
WIDTHS = [64, 128, 256, 512]
DEPTHS = [20, 32, 44, 56, 110, pytest.param(1202, marks=pytest.mark.slow)]
COLOR, TINY, CLASSES = (3, 32, 32), (3, 64, 64), 200
Factory = Callable[..., nn.Module]


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return prunable_parameters(model, PruningOptions())


def size(factory: Factory, shape: tuple[int, int, int], classes: int) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in weights(factory(shape, classes)).values())


def basic_size(depth: int, widening: int) -> int:
    """Count a 3x3 stem, two 3x3 convolutions per block, and a 1x1 where the channels change."""
    channels = 64 * widening
    count = 27 * channels
    for stage, blocks in enumerate(BLOCKS[depth]):
        out = WIDTHS[stage] * widening
        count += 9 * channels * out + 9 * out * out * (2 * blocks - 1)
        count += channels * out if stage else 0
        channels = out
    return count + channels * CLASSES


def bottleneck_size(depth: int, widening: int) -> int:
    """Count 1x1, 3x3 and 1x1 convolutions with `inside` channels between, and a 1x1 where a stage begins."""
    channels = 64
    count = 27 * channels
    for width, blocks in zip(WIDTHS, BLOCKS[depth], strict=True):
        inside, out = width * widening, 4 * width
        count += channels * out
        for _ in range(blocks):
            count += channels * inside + 9 * inside * inside + inside * out
            channels = out
    return count + channels * CLASSES


@pytest.mark.parametrize("widening", [1, 2])
@pytest.mark.parametrize("depth", BLOCKS)
def test_tinyimagenet_sizes_follow_from_the_blocks(depth: int, widening: int) -> None:
    expected = (basic_size if depth < 50 else bottleneck_size)(depth, widening)
    assert size(TinyImagenetResNet(depth, widening), TINY, CLASSES) == expected


@pytest.mark.parametrize(
    ("factory", "shape", "classes", "published"),
    [(lottery_resnet20, COLOR, 10, 270_896), (tinyimagenet_resnet18, TINY, CLASSES, 11_261_632)],
)
def test_sizes_are_as_published(
    factory: Factory, shape: tuple[int, int, int], classes: int, published: int
) -> None:
    assert size(factory, shape, classes) == published


@pytest.mark.parametrize("width", [16, 32])
@pytest.mark.parametrize("depth", DEPTHS)
def test_depth_counts_the_layers_without_shortcuts(depth: int, width: int) -> None:
    with torch.device("meta"):
        model = LotteryResNet(depth, width)(COLOR, 10)
    assert sum("shortcut" not in name for name in weights(model)) == depth


@pytest.mark.parametrize(
    ("narrow", "wide"),
    [(lottery_resnet20, lottery_wide_resnet20), (tinyimagenet_resnet18, tinyimagenet_wide_resnet18)],
)
def test_wide_networks_are_twice_as_wide_everywhere(narrow: Factory, wide: Factory) -> None:
    with torch.device("meta"):
        one, two = (weights(factory(COLOR, 10)) for factory in (narrow, wide))
    assert one.keys() == two.keys()
    assert all(two[name].shape[0] == 2 * one[name].shape[0] for name in one if name != "classifier.weight")


def test_wide_bottlenecks_are_twice_as_wide_inside() -> None:
    with torch.device("meta"):
        narrow, wide = (
            weights(factory(TINY, CLASSES)) for factory in (tinyimagenet_resnet50, tinyimagenet_wide_resnet50)
        )
    for name in narrow:
        inside = name.endswith(("conv1.weight", "conv2.weight")) and "stage" in name
        assert wide[name].shape[0] == (2 if inside else 1) * narrow[name].shape[0], name


def test_only_blocks_that_change_the_shape_have_a_shortcut_convolution() -> None:
    shortcuts = [name for name in weights(lottery_resnet32(COLOR, 10)) if "shortcut" in name]
    assert shortcuts == ["stage2.0.shortcut.conv.weight", "stage3.0.shortcut.conv.weight"]


def test_identity_shortcuts_add_the_input_of_the_block() -> None:
    block = lottery_resnet20(COLOR, 10).eval().get_submodule("stage1.0")
    nn.init.zeros_(block.get_submodule("bn2").weight)  # type: ignore[arg-type]
    x = torch.rand(2, 16, 5, 5)
    assert torch.equal(block(x), x)


def test_residual_adds_prunable_scales_to_identity_shortcuts_and_nothing_else() -> None:
    torch.manual_seed(0)
    plain = lottery_resnet20(COLOR, 10).eval()
    torch.manual_seed(0)
    scaled = lottery_resnet20(COLOR, 10, residual=True).eval()
    extra = {name: p for name, p in scaled.named_parameters() if name not in dict(plain.named_parameters())}
    assert list(extra) == [
        *(f"stage1.{i}.shortcut.scale" for i in (0, 1, 2)),
        *(f"stage{stage}.{i}.shortcut.scale" for stage in (2, 3) for i in (1, 2)),
    ]
    assert all(torch.equal(p, torch.ones_like(p)) and not p.requires_grad for p in extra.values())
    x = torch.rand(2, *COLOR)
    assert torch.equal(scaled(x), plain(x))


@pytest.mark.parametrize("widening", [1, 2])
@pytest.mark.parametrize(
    "depth", [18, 34, 50, *(pytest.param(d, marks=pytest.mark.slow) for d in (101, 152))]
)
def test_every_identity_shortcut_has_a_residual_scale(depth: int, widening: int) -> None:
    factory = TinyImagenetResNet(depth, widening)
    with torch.device("meta"):
        model, plain = factory(TINY, 10, residual=True), factory(TINY, 10)
    scales = [module for module in model.modules() if isinstance(module, ResidualScale)]
    changing = 3 if depth < 50 else 4
    assert len(scales) == sum(BLOCKS[depth]) - changing
    assert not any(isinstance(module, ResidualScale) for module in plain.modules())


def test_lottery_weights_are_kaiming_normal_over_the_fan_in() -> None:
    torch.manual_seed(0)
    for weight in weights(lottery_resnet20(COLOR, 100)).values():
        n, fan_in = weight.numel(), weight[0].numel()
        # The deviation of n normal draws has a relative error of 1 / sqrt(2 n); five of these are allowed.
        assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=5 / sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * sqrt(2 / fan_in / n)


def test_lottery_biases_are_zero_and_batch_norms_neutral() -> None:
    model = lottery_resnet20(COLOR, 10)
    assert not model.get_parameter("classifier.bias").any()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))
            assert not module.bias.any()


@pytest.mark.parametrize("factory", [tinyimagenet_resnet18, tinyimagenet_resnet50])
def test_tinyimagenet_convolutions_are_kaiming_normal_over_the_fan_out(factory: Factory) -> None:
    torch.manual_seed(0)
    for name, module in factory(TINY, CLASSES).named_modules():
        if isinstance(module, nn.Conv2d):
            n, fan_out = module.weight.numel(), module.weight[:, 0].numel()
            assert module.weight.std().item() == pytest.approx(sqrt(2 / fan_out), rel=5 / sqrt(2 * n)), name


def test_the_tinyimagenet_classifier_has_the_initialization_of_pytorch() -> None:
    torch.manual_seed(0)
    weight = weights(tinyimagenet_resnet18(TINY, CLASSES))["classifier.weight"]
    bound = 1 / sqrt(512)
    assert bound == pytest.approx(0.0442, abs=5e-5)
    assert 0.999 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / sqrt(3), rel=0.02)


def magnitude_masks(model: nn.Module, compression: float) -> Masks:
    generator = torch.Generator().manual_seed(0)
    problem = Problem.of(model, input_shape=TINY, num_classes=CLASSES, generator=generator)
    return run_pruner(Magnitude(), problem, 1 / compression).masks


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_magnitude_empties_the_classifier_just_above_compression_10_to_the_1_11(seed: int) -> None:
    torch.manual_seed(seed)
    model = tinyimagenet_resnet18(TINY, CLASSES)
    assert magnitude_masks(model, 10**1.10).layer_kept["classifier.weight"] > 0
    above = magnitude_masks(model, 10**1.12)
    assert [name for name, kept in above.layer_kept.items() if not kept] == ["classifier.weight"]
