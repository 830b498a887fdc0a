"""The networks of torchvision at 224x224 with 1000 classes, and its weights from a local folder."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from synflow_bench.errors import ModelError
from synflow_bench.host import Host
from synflow_bench.pruning import ResidualScale, prunable_parameters
from synflow_bench.suites import PruningOptions
from synflow_bench_models.imagenet import (
    ImagenetResNet,
    imagenet_resnet18,
    imagenet_resnet50,
    imagenet_vgg19,
    imagenet_wide_resnet50,
)

MODELS = Host.load().models
SHAPE, CLASSES = (3, 224, 224), 1000
PUBLISHED = {
    "imagenet/vgg11": 132_863_336,
    "imagenet/vgg13": 133_047_848,
    "imagenet/vgg16": 138_357_544,
    "imagenet/vgg19": 143_667_240,
    "imagenet/vgg11-bn": 132_868_840,
    "imagenet/vgg13-bn": 133_053_736,
    "imagenet/vgg16-bn": 138_365_992,
    "imagenet/vgg19-bn": 143_678_248,
    "imagenet/resnet18": 11_689_512,
    "imagenet/resnet34": 21_797_672,
    "imagenet/resnet50": 25_557_032,
    "imagenet/resnet101": 44_549_160,
    "imagenet/resnet152": 60_192_808,
    "imagenet/wide-resnet50": 68_883_240,
    "imagenet/wide-resnet101": 126_886_696,
}
"""All parameters, from the documentation of torchvision."""
Factory = Callable[..., nn.Module]


@pytest.mark.parametrize("name", PUBLISHED)
def test_has_as_many_parameters_as_torchvision_says(name: str) -> None:
    with torch.device("meta"):
        model = MODELS.get(name)(SHAPE, CLASSES)
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED[name]


def test_vgg19_has_the_prunable_weights_of_the_paper() -> None:
    with torch.device("meta"):
        weights = prunable_parameters(imagenet_vgg19(SHAPE, CLASSES), PruningOptions())
    assert sum(weight.numel() for weight in weights.values()) == 143_652_544


def test_an_input_that_the_pools_of_a_vgg_would_use_up_is_refused() -> None:
    with pytest.raises(
        ModelError, match="3x28x28 is too small for imagenet/vgg19: it needs at least 3x32x32"
    ):
        imagenet_vgg19((3, 28, 28), 10)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("vgg11", marks=pytest.mark.slow)])
def test_initial_weights_are_those_of_torchvision(name: str) -> None:
    torch.manual_seed(3)
    ours = MODELS.get(f"imagenet/{name}")(SHAPE, 10).state_dict()
    torch.manual_seed(3)
    theirs = torchvision.models.get_model(name, num_classes=10).state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("factory", [imagenet_resnet18, imagenet_resnet50])
def test_convolutions_are_kaiming_normal_over_the_fan_out(factory: Factory) -> None:
    torch.manual_seed(0)
    for shape in (SHAPE, (1, 224, 224)):
        first = next(m for m in factory(shape, 10).modules() if isinstance(m, nn.Conv2d))
        assert first.in_channels == shape[0]
        fan_out = first.weight[:, 0].numel()
        deviation = pytest.approx(sqrt(2 / fan_out), rel=5 / sqrt(2 * first.weight.numel()))
        assert first.weight.std().item() == deviation


@pytest.mark.parametrize(
    ("builder", "identities"),
    [
        ("resnet18", 5),
        ("resnet34", 13),
        ("resnet50", 12),
        pytest.param("resnet101", 29, marks=pytest.mark.slow),
        pytest.param("resnet152", 46, marks=pytest.mark.slow),
        pytest.param("wide_resnet50_2", 12, marks=pytest.mark.slow),
        pytest.param("wide_resnet101_2", 29, marks=pytest.mark.slow),
    ],
)
def test_every_identity_shortcut_has_a_residual_scale(builder: str, identities: int) -> None:
    with torch.device("meta"):
        model = ImagenetResNet(builder)(SHAPE, 10, residual=True)
    assert sum(isinstance(module, ResidualScale) for module in model.modules()) == identities


def test_a_residual_scale_changes_no_output_and_follows_its_channels() -> None:
    torch.manual_seed(0)
    plain = imagenet_resnet18((3, 32, 32), 10).eval()
    torch.manual_seed(0)
    scaled = imagenet_resnet18((3, 32, 32), 10, residual=True).eval()
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(plain(x), scaled(x))
    options = PruningOptions(prune_residual=True)
    scales = {n: p for n, p in prunable_parameters(scaled, options).items() if n.endswith("scale")}
    assert [len(scale) for scale in scales.values()] == [64, 64, 128, 256, 512]
    assert not any(scale.requires_grad for scale in scales.values())


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torch.hub looks for weights; downloads fail."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return folder


def weights_file(hub: Path, builder: str) -> Path:
    weights = torchvision.models.get_model_weights(builder)["IMAGENET1K_V1"]
    return hub / str(weights.url).rpartition("/")[2]


def test_pretrained_weights_come_from_torch_hub(hub: Path) -> None:
    torch.manual_seed(7)
    published = torchvision.models.resnet18().state_dict()
    torch.save(published, weights_file(hub, "resnet18"))
    loaded = imagenet_resnet18(SHAPE, CLASSES, pretrained=True, residual=True).state_dict()
    assert all(torch.equal(loaded[name], published[name]) for name in published)
    assert sorted(name for name in loaded if name not in published) == sorted(
        f"layer{stage}.{block}.downsample.scale" for stage, block in ((1, 0), (1, 1), (2, 1), (3, 1), (4, 1))
    )


def test_on_the_meta_device_no_pretrained_weights_are_loaded(hub: Path) -> None:
    with torch.device("meta"):
        model = imagenet_resnet18(SHAPE, CLASSES, pretrained=True)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_failed_download_of_weights_names_the_address_and_the_file(
    hub: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=r"weights of imagenet/resnet18: .*no network") as failed:
        imagenet_resnet18(SHAPE, CLASSES, pretrained=True)
    url = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url
    assert f"save {url} as {weights_file(hub, 'resnet18')}" in str(failed.value)
    assert capsys.readouterr().out == ""
    assert not list(hub.iterdir())


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('it was run')",))


@pytest.mark.parametrize("content", ["nothing", "half", "code", "another network"])
def test_a_file_without_the_weights_is_refused_and_not_executed(hub: Path, content: str) -> None:
    path = weights_file(hub, "resnet18")
    saved = {"code": Harmful(), "another network": nn.Linear(2, 2).state_dict()}.get(content, {})
    torch.save(saved, path)
    if content in {"nothing", "half"}:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else b"")
    with pytest.raises(
        ModelError, match="does not hold the weights of imagenet/resnet18; delete it"
    ) as refused:
        imagenet_resnet18(SHAPE, CLASSES, pretrained=True)
    assert str(refused.value).startswith(str(path))


@pytest.mark.parametrize(("shape", "classes"), [(SHAPE, 10), ((1, 224, 224), CLASSES)])
def test_pretrained_weights_fit_three_channels_and_a_thousand_classes_only(
    shape: tuple[int, int, int], classes: int
) -> None:
    with pytest.raises(ModelError, match=f"not for {shape[0]} and {classes}; leave out `pretrained`"):
        imagenet_wide_resnet50(shape, classes, pretrained=True)
