"""The networks for small images by name: what they are made of, how they are initialised, what they take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from math import sqrt

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from synflow_bench.errors import ModelError
from synflow_bench_models.conv import conv
from synflow_bench_models.fc import fc
from synflow_bench_models.lottery_resnet import resnet20, resnet32, wide_resnet20
from synflow_bench_models.lottery_vgg import vgg11, vgg11_bn, vgg16, vgg16_bn
from synflow_bench_models.plugin import synflow_bench_models

Factory = Callable[[tuple[int, int, int], int], nn.Module]

REGISTERED = sorted(synflow_bench_models())
NAMES = [name for name in REGISTERED if name.partition("/")[0] in {"fc", "conv", "lottery"}]
EVERY_NAME = [pytest.param(name, marks=pytest.mark.slow) if "1202" in name else name for name in NAMES]
COLOUR = (3, 32, 32)
GREY = (1, 28, 28)


def factory_of(name: str) -> Factory:
    module, _, attribute = synflow_bench_models()[name].partition(":")
    factory: Factory = getattr(import_module(module), attribute)
    return factory


def prunable(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: module.weight
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }


def size(factory: Factory, shape: tuple[int, int, int], classes: int) -> int:
    with torch.device("meta"):
        return sum(weight.numel() for weight in prunable(factory(shape, classes)).values())


def test_every_network_of_the_issue_is_registered() -> None:
    vggs = [f"lottery/vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "-bn")]
    resnets = [f"lottery/{wide}resnet{n}" for n in (20, 32, 44, 56, 110, 1202) for wide in ("", "wide-")]
    assert sorted(["fc", "conv", *vggs, *resnets]) == NAMES
    for_photographs = [name for name in REGISTERED if name not in NAMES]
    vggs = [f"vgg{n}{bn}" for n in (11, 13, 16, 19) for bn in ("", "-bn")]
    resnets = [f"resnet{n}" for n in (18, 34, 50, 101, 152)]
    tiny = [*vggs, *resnets, *(f"wide-{name}" for name in resnets)]
    large = [*vggs, *resnets, "wide-resnet50", "wide-resnet101"]
    expected = [*(f"tinyimagenet/{name}" for name in tiny), *(f"imagenet/{name}" for name in large)]
    assert sorted(expected) == for_photographs


@pytest.mark.parametrize("shape", [COLOUR, GREY])
@pytest.mark.parametrize("name", EVERY_NAME)
def test_builds_and_answers_with_one_logit_a_class(name: str, shape: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        model = factory_of(name)(shape, 7)
        assert model.eval()(torch.empty(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", ["fc", "conv", "lottery/vgg11", "lottery/vgg19-bn", "lottery/wide-resnet20"])
def test_forward_leaves_no_tensor_on_the_cpu(name: str) -> None:
    with FakeTensorMode():
        with torch.device("cuda"):
            model, inputs = factory_of(name)(COLOUR, 10), torch.empty(2, *COLOUR)
        assert model(inputs).device.type == "cuda"
        assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cuda"}


def test_a_tensor_left_on_the_cpu_would_be_noticed() -> None:
    with FakeTensorMode():
        weight = torch.empty(3, 3)
        with pytest.raises(RuntimeError, match="device"):
            torch.empty(2, 3, device="cuda") @ weight


@pytest.mark.parametrize(
    ("factory", "shape", "classes", "expected"),
    [
        (vgg16_bn, COLOUR, 10, 14_715_584),
        (vgg16_bn, COLOUR, 100, 14_761_664),
        (vgg16, COLOUR, 10, 14_715_584),
        (resnet20, COLOUR, 10, 270_896),
        (fc, GREY, 10, 784 * 100 + 4 * 100 * 100 + 100 * 10),
        (conv, GREY, 10, 9 * 1 * 32 + 9 * 32 * 32 + 32 * 784 * 10),
    ],
)
def test_has_as_many_prunable_weights_as_the_papers_say(
    factory: Factory, shape: tuple[int, int, int], classes: int, expected: int
) -> None:
    assert size(factory, shape, classes) == expected


@pytest.mark.parametrize("name", EVERY_NAME)
def test_depth_counts_the_layers_but_for_shortcuts(name: str) -> None:
    with torch.device("meta"):
        layers = [layer for layer in prunable(factory_of(name)(COLOUR, 10)) if "shortcut" not in layer]
    depth = int("".join(filter(str.isdigit, name)) or {"fc": 6, "conv": 3}[name])
    # The lottery VGGs have one linear layer where the published plans have three.
    assert len(layers) == (depth - 2 if "vgg" in name else depth)


def test_wide_resnets_are_twice_as_wide_everywhere() -> None:
    with torch.device("meta"):
        narrow, wide = (prunable(factory(COLOUR, 10)) for factory in (resnet20, wide_resnet20))
    assert narrow.keys() == wide.keys()
    assert all(wide[name].shape[0] == 2 * narrow[name].shape[0] for name in narrow if name != "classifier")


def test_only_blocks_that_change_the_shape_have_a_shortcut_convolution() -> None:
    shortcuts = [name for name in prunable(resnet32(COLOUR, 10)) if "shortcut" in name]
    assert shortcuts == ["stage2.0.shortcut.conv", "stage3.0.shortcut.conv"]


def test_residual_puts_a_prunable_scale_on_identity_shortcuts_and_changes_nothing_else() -> None:
    torch.manual_seed(0)
    plain = resnet20(COLOUR, 10).eval()
    torch.manual_seed(0)
    scaled = resnet20(COLOUR, 10, residual=True).eval()
    extra = {name: p for name, p in scaled.named_parameters() if name not in dict(plain.named_parameters())}
    assert list(extra) == [
        *(f"stage1.{i}.shortcut.scale" for i in (0, 1, 2)),
        *(f"stage{stage}.{i}.shortcut.scale" for stage in (2, 3) for i in (1, 2)),
    ]
    assert all(torch.equal(p, torch.ones_like(p)) and not p.requires_grad for p in extra.values())
    x = torch.rand(2, *COLOUR)
    assert torch.equal(scaled(x), plain(x))


def test_identity_shortcuts_add_the_blocks_input() -> None:
    block = resnet20(COLOUR, 10).eval().get_submodule("stage1.0")
    nn.init.zeros_(block.get_submodule("bn2").weight)  # type: ignore[arg-type]
    x = torch.rand(2, 16, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("factory", [vgg11, vgg11_bn, vgg16_bn, resnet20])
def test_lottery_weights_are_kaiming_normal_over_the_fan_in(factory: Factory) -> None:
    torch.manual_seed(0)
    model = factory(COLOUR, 100)
    for weight in prunable(model).values():
        n, fan_in = weight.numel(), weight[0].numel()
        # The deviation of n normal draws is off by 1 / sqrt(2 n) of itself; five of these are allowed.
        assert weight.std().item() == pytest.approx(sqrt(2 / fan_in), rel=5 / sqrt(2 * n))
        assert abs(weight.mean().item()) < 5 * sqrt(2 / fan_in / n)


@pytest.mark.parametrize("factory", [vgg11, vgg11_bn, resnet20])
def test_lottery_biases_are_zero_and_batch_norms_neutral(factory: Factory) -> None:
    for module in factory(COLOUR, 10).modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d) and module.bias is not None:
            assert not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))


@pytest.mark.parametrize("factory", [fc, conv])
def test_fc_and_conv_keep_the_initialisation_of_torch(factory: Factory) -> None:
    for weight in prunable(factory(GREY, 10)).values():
        bound = 1 / sqrt(weight[0].numel())
        assert weight.abs().max().item() <= bound
        assert weight.abs().max().item() > 0.8 * bound


@pytest.mark.parametrize("factory", [fc, conv, vgg11_bn, resnet20])
def test_the_global_seed_fixes_the_weights(factory: Factory) -> None:
    first, again, other = (seeded(factory, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def seeded(factory: Factory, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return prunable(factory(GREY, 10))


@pytest.mark.parametrize(
    ("factory", "shape"),
    [(fc, GREY), (fc, (1, 8, 8)), (conv, GREY), (vgg11_bn, GREY), (vgg11, COLOUR), (resnet20, COLOUR)],
)
def test_gradients_reach_every_parameter(factory: Factory, shape: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    model = factory(shape, 10)
    loss = nn.functional.cross_entropy(model(torch.rand(4, *shape)), torch.arange(4))
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert all(weight.grad is not None and weight.grad.any() for weight in prunable(model).values())


def test_vgg_refuses_an_input_that_its_pools_would_use_up() -> None:
    with pytest.raises(ModelError) as refusal:
        vgg16((1, 8, 8), 10)
    assert str(refusal.value) == "input 1x8x8 is too small for lottery/vgg16: it needs at least 1x16x16"
    with pytest.raises(ModelError, match="input 3x32x15 is too small for lottery/vgg11-bn"):
        vgg11_bn((3, 32, 15), 10)


@pytest.mark.parametrize(("side", "inputs"), [(16, 512), (28, 512), (32, 512), (63, 512), (64, 2048)])
def test_vgg_classifier_follows_the_input(side: int, inputs: int) -> None:
    with torch.device("meta"):
        model = vgg16((3, side, side), 10)
        assert model(torch.empty(1, 3, side, side)).shape == (1, 10)
    assert prunable(model)["classifier"].shape == (10, inputs)


def test_unknown_options_are_refused_by_every_factory() -> None:
    for name in NAMES:
        with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
            factory_of(name)(COLOUR, 10, depth=3)  # type: ignore[call-arg]


def test_listing_the_networks_imports_no_torch() -> None:
    code = (
        "import sys; from synflow_bench_models.plugin import synflow_bench_models as hook; hook(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
