"""Every registered model: its name, its native input, and the contract of a factory."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from synflow_bench.host import Host
from synflow_bench.pruning import prunable_parameters
from synflow_bench.suites import PruningOptions
from synflow_bench.training import blank_input
from synflow_bench_models.plugin import synflow_bench_models

MODELS = Host.load().models
NAMES = sorted(synflow_bench_models())
DEEP = ("1202", "101", "152", "/wide-resnet34", "/wide-resnet50", "wrn-28-10")
EVERY_NAME = [pytest.param(name, marks=pytest.mark.slow) if name.endswith(DEEP) else name for name in NAMES]
NATIVE = {
    "fc": ((1, 28, 28), 10),
    "conv": ((1, 28, 28), 10),
    "lottery": ((3, 32, 32), 10),
    "tinyimagenet": ((3, 64, 64), 200),
    "imagenet": ((3, 224, 224), 1000),
    "wrn-28-10": ((3, 32, 32), 10),
    "wrn-16-8": ((3, 32, 32), 10),
    "mobilenet": ((3, 32, 32), 10),
    "convnext": ((3, 32, 32), 10),
    "vit": ((3, 32, 32), 10),
    "mixer": ((3, 32, 32), 10),
    "gpt": ((64,), 65),
}
MODERN = ["wrn-28-10", "wrn-16-8", "mobilenet/v2", "convnext/tiny", "vit/tiny", "mixer/tiny", "gpt/char"]
OTHER = {
    "lottery": (1, 28, 28),
    "tinyimagenet": (1, 96, 32),
    "imagenet": (1, 64, 96),
    "wrn-28-10": (1, 8, 8),
    "wrn-16-8": (2, 9, 20),
    "mobilenet": (1, 96, 72),
    "convnext": (1, 28, 40),
    "vit": (1, 8, 12),
    "mixer": (4, 28, 56),
    "gpt": (16,),
}
COLOR = (3, 32, 32)


def family(name: str) -> str:
    return name.partition("/")[0]


def test_all_networks_of_the_papers_are_registered() -> None:
    vggs = [f"vgg{depth}{bn}" for depth in (11, 13, 16, 19) for bn in ("", "-bn")]
    resnets = [f"resnet{depth}" for depth in (18, 34, 50, 101, 152)]
    small = [*vggs, *(f"{wide}resnet{n}" for n in (20, 32, 44, 56, 110, 1202) for wide in ("", "wide-"))]
    tiny = [*vggs, *resnets, *(f"wide-{name}" for name in resnets)]
    large = [*vggs, *resnets, "wide-resnet50", "wide-resnet101"]
    families = {"lottery": small, "tinyimagenet": tiny, "imagenet": large}
    published = [f"{f}/{name}" for f, names in families.items() for name in names]
    assert sorted(["fc", "conv", *published, *MODERN]) == NAMES


def test_listing_the_models_imports_no_torch() -> None:
    code = (
        "import sys; from synflow_bench_models.plugin import synflow_bench_models as hook; hook(); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_the_native_shape_and_classes(name: str) -> None:
    shape, classes = list(inspect.signature(MODELS.get(name)).parameters.values())[:2]
    assert (shape.name, classes.name) == ("input_shape", "num_classes")
    assert (shape.default, classes.default) == NATIVE[family(name)]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("name", EVERY_NAME)
def test_gives_one_logit_per_class_for_other_channels_and_sizes_too(name: str, native: bool) -> None:
    shape = NATIVE[family(name)][0] if native else OTHER.get(family(name), COLOR)
    with torch.device("meta"):
        assert MODELS.get(name)(shape, 7).eval()(blank_input(shape).expand(2, *shape)).shape == (2, 7)


@pytest.mark.parametrize("name", NAMES)
def test_unknown_options_are_refused(name: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'depth'"):
        MODELS.get(name)(COLOR, 10, depth=3)


ON_A_DEVICE = [
    *("fc", "conv", "lottery/vgg11", "lottery/vgg19-bn", "lottery/wide-resnet20"),
    *("wrn-16-8", "mobilenet/v2", "gpt/char"),
]
"""Networks without truncated draws, which tensors without values do not allow."""


@pytest.mark.parametrize("name", ON_A_DEVICE)
def test_forward_leaves_no_tensor_on_the_cpu(name: str) -> None:
    shape = (16,) if name == "gpt/char" else COLOR
    with FakeTensorMode():
        with torch.device("cuda"):
            model, inputs = MODELS.get(name)(shape, 10), blank_input(shape).to("cuda").expand(2, *shape)
        assert model(inputs).device.type == "cuda"
        assert {tensor.device.type for tensor in (*model.parameters(), *model.buffers())} == {"cuda"}


def test_a_tensor_left_on_the_cpu_would_be_noticed() -> None:
    with FakeTensorMode():
        weight = torch.empty(3, 3)
        with pytest.raises(RuntimeError, match="device"):
            torch.empty(2, 3, device="cuda") @ weight


SEEDED = ["fc", "conv", "lottery/vgg11-bn", "lottery/resnet20", "mobilenet/v2", "vit/tiny", "mixer/tiny"]


@pytest.mark.parametrize("name", SEEDED)
def test_the_global_seed_determines_the_weights(name: str) -> None:
    first, again, other = (seeded(name, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def seeded(name: str, seed: int) -> dict[str, nn.Parameter]:
    torch.manual_seed(seed)
    return prunable_parameters(MODELS.get(name)((1, 28, 28), 10), PruningOptions())


SLOW = [
    pytest.param(name, None, marks=pytest.mark.slow)
    for name in (
        "tinyimagenet/wide-resnet18",
        "tinyimagenet/resnet50",
        "tinyimagenet/wide-resnet50",
        "imagenet/vgg11",
        "imagenet/resnet50",
        "imagenet/wide-resnet50",
    )
]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("fc", None),
        ("fc", (1, 8, 8)),
        ("conv", None),
        ("lottery/vgg11-bn", (1, 28, 28)),
        ("lottery/vgg11", None),
        ("lottery/resnet20", None),
        ("tinyimagenet/vgg11-bn", None),
        ("tinyimagenet/resnet18", None),
        ("imagenet/resnet18", None),
        *((name, (1, 8, 8)) for name in MODERN[1:-1]),
        ("gpt/char", None),
        *SLOW,
    ],
)
def test_gradients_reach_every_parameter(name: str, shape: tuple[int, ...] | None) -> None:
    torch.manual_seed(0)
    native, classes = NATIVE[family(name)]
    model = MODELS.get(name)(shape or native, classes).eval()
    inputs = torch.randint(classes, (2, *native)) if name == "gpt/char" else torch.rand(2, *(shape or native))
    loss = nn.functional.cross_entropy(model(inputs), torch.arange(2))
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
    weights = prunable_parameters(model, PruningOptions())
    assert all(weight.grad is not None and weight.grad.any() for weight in weights.values())
