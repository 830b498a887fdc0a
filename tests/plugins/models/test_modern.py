"""Transformers, MLP-Mixer, MobileNetV2, ConvNeXt and wide networks: sizes, shapes, initial weights."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, layer_norm, linear, one_hot

from synflow_bench.errors import ModelError
from synflow_bench.host import Host
from synflow_bench.pruning import ResidualScale
from synflow_bench_models.efficient import convnext_tiny, mobilenet_v2
from synflow_bench_models.mixer import mixer_tiny
from synflow_bench_models.transformer import gpt_char, vit_tiny
from synflow_bench_models.wide_resnet import WideResNet, wrn_16_8

MODELS = Host.load().models
Shape = tuple[int, ...]
SIZES = {
    "wrn-28-10": 36_479_194,  # 36.5 million in table 5 of the paper
    "wrn-16-8": 10_961_370,  # 11.0 million in the same table
    "mobilenet/v2": 2_236_682,
    "convnext/tiny": 27_827_818,
    "vit/tiny": 5_362_762,
    "mixer/tiny": 2_484_426,
    "gpt/char": 809_856,
}
"""All parameters at the native shape."""


def on_meta(name: str, *given: object) -> nn.Module:
    with torch.device("meta"):
        model: nn.Module = MODELS.get(name)(*given)
    return model


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("name", SIZES)
def test_has_as_many_parameters_as_its_docstring_says(name: str) -> None:
    assert count(on_meta(name)) == SIZES[name]


def test_sizes_follow_from_depth_width_and_heads() -> None:
    width, blocks, tokens = 192, 12, 65
    block = 4 * width * (width + 1) + 2 * 4 * width**2 + 5 * width + 2 * 2 * width
    stem = 3 * 16 * width + width + width + tokens * width
    assert count(on_meta("vit/tiny")) == stem + blocks * block + 2 * width + 10 * (width + 1)
    width, blocks, length, characters = 128, 4, 64, 65
    block = 4 * width * (width + 1) + 2 * 4 * width**2 + 5 * width + 2 * 2 * width
    assert count(on_meta("gpt/char")) == (characters + length) * width + blocks * block + 2 * width
    width, patches, hidden = 192, 64, 96
    tokens_mixed, channels_mixed = 2 * patches * hidden + hidden + patches, 8 * width**2 + 5 * width
    block = tokens_mixed + channels_mixed + 4 * width
    assert count(on_meta("mixer/tiny")) == 49 * width + 8 * block + 2 * width + 10 * (width + 1)


@pytest.mark.parametrize(
    ("name", "published"), [("mobilenet/v2", "mobilenet_v2"), ("convnext/tiny", "convnext_tiny")]
)
def test_for_imagenet_they_are_the_networks_of_torchvision(name: str, published: str) -> None:
    torch.manual_seed(3)
    ours = MODELS.get(name)((3, 224, 224), 10)
    torch.manual_seed(3)
    theirs = torchvision.models.get_model(published, num_classes=10)
    assert str(ours) == str(theirs)
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_transformer_has_the_size_of_deit_tiny() -> None:
    assert count(on_meta("vit/tiny", (3, 224, 224), 1000)) == 5_717_416


@pytest.mark.parametrize(("side", "left"), [(8, 1), (28, 4), (32, 4), (64, 8), (96, 3), (224, 7)])
def test_mobilenet_keeps_small_images_large(side: int, left: int) -> None:
    features = on_meta("mobilenet/v2", (3, side, side)).get_submodule("features")
    assert features(torch.empty(2, 3, side, side, device="meta")).shape == (2, 1280, left, left)


@pytest.mark.parametrize(("side", "left"), [(8, 1), (16, 1), (28, 1), (32, 1), (64, 2), (224, 7)])
def test_the_last_stage_of_convnext_has_a_position(side: int, left: int) -> None:
    features = on_meta("convnext/tiny", (3, side, side)).get_submodule("features")
    assert features(torch.empty(2, 3, side, side, device="meta")).shape == (2, 768, left, left)


@pytest.mark.parametrize(
    ("name", "shape", "fact"),
    [
        ("vit/tiny", (1, 7, 8), "1x7x8"),
        ("mixer/tiny", (3, 33, 33), "3x33x33"),
        ("convnext/tiny", (1, 7, 28), "1x8x8"),
        ("gpt/char", (1, 8, 8), r"\(1, 8, 8\)"),
        *((name, (64,), r"\(64,\)") for name in SIZES if name != "gpt/char"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(name: str, shape: Shape, fact: str) -> None:
    with pytest.raises(ModelError, match=fact) as refused:
        on_meta(name, shape, 10)
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)


def assert_deviations(model: nn.Module, expected: Callable[[str, Tensor], float]) -> None:
    """Compare the standard deviation of every matrix of `model` with what is expected, to five sigma."""
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            found = weight.detach().double().square().mean().sqrt().item()
            tolerance = 5 / sqrt(2 * weight.numel())
            assert found == pytest.approx(expected(name, weight), rel=tolerance), name


def biases(model: nn.Module) -> list[Tensor]:
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [layer.bias for layer in layers if layer.bias is not None]


@pytest.mark.parametrize("name", ["vit/tiny", "mixer/tiny", "gpt/char", "convnext/tiny", "mobilenet/v2"])
def test_initial_biases_are_zero(name: str) -> None:
    found = biases(MODELS.get(name)())
    assert found
    assert not any(bias.any() for bias in found)


def test_initial_weights_of_the_vision_transformer() -> None:
    torch.manual_seed(0)
    assert_deviations(vit_tiny(), lambda name, weight: 1 / sqrt(48) if name == "patches.weight" else 0.02)


def test_initial_weights_of_the_mixer() -> None:
    torch.manual_seed(0)
    assert_deviations(mixer_tiny(), lambda _, weight: 1 / sqrt(weight[0].numel()))


def test_initial_weights_of_the_character_model() -> None:
    torch.manual_seed(0)
    last = ("attention.projection.weight", "linear2.weight")
    assert_deviations(gpt_char(), lambda name, _: 0.02 / sqrt(8) if name.endswith(last) else 0.02)


def test_initial_weights_of_the_wide_networks() -> None:
    torch.manual_seed(0)
    network = wrn_16_8()
    classifier = network.get_submodule("classifier")
    assert isinstance(classifier, nn.Linear)
    assert not classifier.bias.any()
    convolutions = nn.ModuleList(m for m in network.modules() if isinstance(m, nn.Conv2d))
    assert_deviations(convolutions, lambda _, weight: sqrt(2 / weight[:, 0].numel()))


def test_initial_weights_with_other_channels() -> None:
    torch.manual_seed(0)
    for factory, expected in ((mobilenet_v2, sqrt(2 / (9 * 32))), (convnext_tiny, 0.02)):
        stem = next(m for m in factory((5, 64, 64), 10).modules() if isinstance(m, nn.Conv2d))
        assert stem.weight.shape[1] == stem.in_channels == 5
        assert_deviations(stem, lambda *_, deviation=expected: deviation)  # type: ignore[misc]


def test_the_character_model_is_the_formula_of_gpt() -> None:
    torch.manual_seed(0)
    model = gpt_char((7,), 11).double()
    weights = dict(model.named_parameters())
    tokens = torch.randint(11, (3, 7))
    x = one_hot(tokens, 11).double() @ weights["embedding.weight"] + weights["positions"]
    future = torch.full((7, 7), float("-inf"), dtype=torch.float64).triu(1)
    for i in range(4):
        of = {name.removeprefix(f"blocks.{i}."): weight for name, weight in weights.items()}
        normed = layer_norm(x, (128,), of["norm1.weight"], of["norm1.bias"])
        parts = linear(normed, of["attention.qkv.weight"], of["attention.qkv.bias"]).chunk(3, dim=2)
        heads = [torch.stack(part.chunk(4, dim=2), dim=1) for part in parts]
        chances = (heads[0] @ heads[1].mT / sqrt(32) + future).softmax(dim=3)
        mixed = torch.cat((chances @ heads[2]).unbind(1), dim=2)
        x = x + linear(mixed, of["attention.projection.weight"], of["attention.projection.bias"])
        normed = layer_norm(x, (128,), of["norm2.weight"], of["norm2.bias"])
        hidden = gelu(linear(normed, of["linear1.weight"], of["linear1.bias"]))
        x = x + linear(hidden, of["linear2.weight"], of["linear2.bias"])
    last = layer_norm(x[:, -1], (128,), weights["norm.weight"], weights["norm.bias"])
    torch.testing.assert_close(model(tokens), last @ weights["embedding.weight"].mT)


def test_the_character_model_shares_the_embedding_with_the_classifier() -> None:
    model = gpt_char((7,), 11)
    assert model.get_parameter("embedding.weight") is model.get_parameter("classifier.weight")


@pytest.mark.parametrize(("depth", "identities"), [(16, 3), (28, 9)])
def test_identity_shortcuts_of_wide_networks_have_residual_scales(depth: int, identities: int) -> None:
    with torch.device("meta"):
        model = WideResNet(depth, 2)(residual=True)
    assert sum(isinstance(module, ResidualScale) for module in model.modules()) == identities


def test_a_shortcut_that_changes_the_shape_reads_the_activated_input() -> None:
    torch.manual_seed(0)
    block = WideResNet(16, 2)((3, 8, 8), 10).get_submodule("group2.0").eval()
    x = torch.randn(2, 32, 8, 8)
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    active = (x / sqrt(1 + 1e-5)).relu()
    expected = nn.functional.conv2d(active, block.get_parameter("shortcut.weight"), stride=2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vit/tiny", "mixer/tiny", "mobilenet/v2", "convnext/tiny", "wrn-16-8"])
def test_learns_a_few_digits(name: str) -> None:
    from synflow_bench_datasets.digits import Digits

    torch.manual_seed(0)
    train = Digits().load(None).train  # type: ignore[arg-type]
    images, labels = train.images[:64] / 255.0, train.labels[:64]  # type: ignore[union-attr]
    model = MODELS.get(name)((1, 8, 8), 10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(15):
        loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.7 * losses[0]
