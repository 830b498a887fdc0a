"""The networks for Tiny ImageNet at 64x64 with 200 classes."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from math import sqrt

import pytest
import torch
from torch import nn

from synflow_bench.errors import ModelError
from synflow_bench.pruning import Masks, Problem, ResidualScale, prunable_parameters, run_pruner
from synflow_bench.suites import PruningOptions
from synflow_bench_models.plugin import synflow_bench_models
from synflow_bench_models.tinyimagenet_resnet import resnet18, resnet50, wide_resnet18, wide_resnet50
from synflow_bench_models.tinyimagenet_vgg import vgg11, vgg11_bn, vgg16_bn
from synflow_bench_pruners.magnitude import Magnitude

NAMES = sorted(name for name in synflow_bench_models() if name.startswith("tinyimagenet/"))
DEEP = ("101", "152", "wide-resnet34", "wide-resnet50")
ANSWERING = [pytest.param(n, marks=pytest.mark.slow) if n.endswith(DEEP) else n for n in NAMES]
RESNETS = [pytest.param(n, marks=pytest.mark.slow) if n.endswith(DEEP) else n for n in NAMES if "resnet" in n]
SHAPE, CLASSES = (3, 64, 64), 200
PLANS = {11: [1, 1, 2, 2, 2], 13: [2, 2, 2, 2, 2], 16: [2, 2, 3, 3, 3], 19: [2, 2, 4, 4, 4]}
BLOCKS = {18: [2, 2, 2, 2], 34: [3, 4, 6, 3], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}
WIDTHS = [64, 128, 256, 512]
Factory = Callable[..., nn.Module]


def factory_of(name: str) -> Factory:
    module, _, attribute = synflow_bench_models()[name].partition(":")
    factory: Factory = getattr(import_module(module), attribute)
    return factory


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    return prunable_parameters(model, PruningOptions())


def size(factory: Factory, shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in weights(factory(shape, classes)).values())


def vgg_size(depth: int) -> int:
    """3x3 convolutions of the plan, then 2048-1024-1024-200."""
    count, channels = 0, 3
    for width, convolutions in zip([64, 128, 256, 512, 512], PLANS[depth], strict=True):
        for _ in range(convolutions):
            count += 9 * channels * width
            channels = width
    return count + 2048 * 1024 + 1024 * 1024 + 1024 * CLASSES


def basic_size(depth: int, widening: int) -> int:
    """A 3x3 stem, two 3x3 convolutions a block, a 1x1 where the stage begins with more channels."""
    channels = 64 * widening
    count = 27 * channels
    for stage, blocks in enumerate(BLOCKS[depth]):
        out = WIDTHS[stage] * widening
        count += 9 * channels * out + 9 * out * out * (2 * blocks - 1)
        count += channels * out if stage else 0
        channels = out
    return count + channels * CLASSES


def bottleneck_size(depth: int, widening: int) -> int:
    """1x1, 3x3, 1x1 with `inside` channels between; 1x1 where a stage begins."""
    channels = 64
    count = 27 * channels
    for width, blocks in zip(WIDTHS, BLOCKS[depth], strict=True):
        inside, out = width * widening, 4 * width
        count += channels * out
        for _ in range(blocks):
            count += channels * inside + 9 * inside * inside + inside * out
            channels = out
    return count + channels * CLASSES


def expected_size(name: str) -> int:
    depth = int("".join(filter(str.isdigit, name)))
    if "vgg" in name:
        return vgg_size(depth)
    return (basic_size if depth < 50 else bottleneck_size)(depth, 2 if "wide" in name else 1)


@pytest.mark.parametrize("name", NAMES)
def test_has_the_weights_of_its_plan(name: str) -> None:
    assert size(factory_of(name)) == expected_size(name)


def test_resnet18_has_as_many_weights_as_is_published() -> None:
    assert size(resnet18) == 11_261_632


@pytest.mark.parametrize("shape", [SHAPE, (1, 96, 32)])
@pytest.mark.parametrize("name", ANSWERING)
def test_answers_with_one_logit_a_class_whatever_channels_and_size(
    name: str, shape: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        assert factory_of(name)(shape, 7).eval()(torch.empty(2, *shape)).shape == (2, 7)


def test_a_resnet_takes_small_digits() -> None:
    with torch.device("meta"):
        assert resnet18((1, 8, 8), 10).eval()(torch.empty(2, 1, 8, 8)).shape == (2, 10)


def test_vgg_refuses_an_input_that_its_pools_would_use_up() -> None:
    with pytest.raises(ModelError) as refusal:
        vgg16_bn((1, 28, 28), 10)
    assert (
        str(refusal.value)
        == "input 1x28x28 is too small for tinyimagenet/vgg16-bn: it needs at least 1x32x32"
    )


def test_wide_networks_are_twice_as_wide() -> None:
    with torch.device("meta"):
        narrow, wide = (weights(factory(SHAPE, CLASSES)) for factory in (resnet18, wide_resnet18))
    assert narrow.keys() == wide.keys()
    assert all(wide[n].shape[0] == 2 * narrow[n].shape[0] for n in narrow if n != "classifier.weight")


def test_wide_bottlenecks_are_twice_as_wide_inside() -> None:
    with torch.device("meta"):
        narrow, wide = (weights(factory(SHAPE, CLASSES)) for factory in (resnet50, wide_resnet50))
    for name in narrow:
        inside = name.endswith(("conv1.weight", "conv2.weight")) and "stage" in name
        assert wide[name].shape[0] == (2 if inside else 1) * narrow[name].shape[0], name


@pytest.mark.parametrize("factory", [vgg11_bn, resnet18, resnet50])
def test_convolutions_are_kaiming_normal_over_the_fan_out(factory: Factory) -> None:
    torch.manual_seed(0)
    model = factory(SHAPE, CLASSES)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            n, fan_out = module.weight.numel(), module.weight[:, 0].numel()
            # The deviation of n normal draws is off by 1 / sqrt(2 n) of itself; five of these are allowed.
            expected = pytest.approx(sqrt(2 / fan_out), rel=5 / sqrt(2 * n))
            assert module.weight.std().item() == expected, name
            assert module.bias is None or not module.bias.any()


def test_linear_layers_of_vgg_are_normal_with_deviation_a_hundredth() -> None:
    torch.manual_seed(0)
    for module in vgg11(SHAPE, CLASSES).modules():
        if isinstance(module, nn.Linear):
            n = module.weight.numel()
            assert module.weight.std().item() == pytest.approx(0.01, rel=5 / sqrt(2 * n))
            assert not module.bias.any()


def test_the_classifier_of_a_resnet_is_uniform_as_torch_has_it() -> None:
    torch.manual_seed(0)
    weight = weights(resnet18(SHAPE, CLASSES))["classifier.weight"]
    bound = 1 / sqrt(512)
    assert bound == pytest.approx(0.0442, abs=5e-5)
    assert 0.999 * bound < weight.abs().max().item() <= bound
    assert weight.std().item() == pytest.approx(bound / sqrt(3), rel=0.02)


def magnitude_masks(model: nn.Module, compression: float) -> Masks:
    generator = torch.Generator().manual_seed(0)
    problem = Problem.of(model, input_shape=SHAPE, num_classes=CLASSES, generator=generator)
    return run_pruner(Magnitude(), problem, 1 / compression).masks


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_magnitude_empties_the_classifier_just_above_compression_10_to_the_1_11(seed: int) -> None:
    torch.manual_seed(seed)
    model = resnet18(SHAPE, CLASSES)
    assert magnitude_masks(model, 10**1.10).layer_kept["classifier.weight"] > 0
    above = magnitude_masks(model, 10**1.12)
    assert above.layer_kept["classifier.weight"] == 0
    assert [name for name, kept in above.layer_kept.items() if not kept] == ["classifier.weight"]


SLOW = [pytest.param(factory, marks=pytest.mark.slow) for factory in (wide_resnet18, resnet50, wide_resnet50)]


@pytest.mark.parametrize("factory", [vgg11_bn, resnet18, *SLOW])
def test_gradients_reach_every_parameter_at_the_native_size(factory: Factory) -> None:
    torch.manual_seed(0)
    model = factory(SHAPE, CLASSES)
    loss = nn.functional.cross_entropy(model(torch.rand(2, *SHAPE)), torch.arange(2))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert all(weight.grad is not None and weight.grad.any() for weight in weights(model).values())


@pytest.mark.parametrize("name", RESNETS)
def test_residual_scales_stand_on_all_identity_shortcuts(name: str) -> None:
    with torch.device("meta"):
        model, plain = factory_of(name)(SHAPE, 10, residual=True), factory_of(name)(SHAPE, 10)
    scales = [module for module in model.modules() if isinstance(module, ResidualScale)]
    blocks = BLOCKS[int("".join(filter(str.isdigit, name)))]
    changing = 3 if "18" in name or "34" in name else 4
    assert len(scales) == sum(blocks) - changing
    assert not any(isinstance(module, ResidualScale) for module in plain.modules())


def test_a_vgg_has_no_such_option() -> None:
    with pytest.raises(TypeError, match="residual"):
        vgg11(SHAPE, CLASSES, residual=True)  # type: ignore[call-arg]
