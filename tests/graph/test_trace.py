"""Networks that can be traced, networks that cannot, and their state afterwards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from synflow_bench.graph import Graph, Untraceable, effective_masks, trace
from synflow_bench.host import Host


class Of(nn.Module):
    """A layer, and what `function` does with its output."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.layer, self.function = nn.Conv2d(3, 4, 1), function

    def forward(self, x: Tensor) -> object:
        return self.function(self.layer(x))


def all_effective(model: nn.Module, *shape: int) -> bool:
    found = trace(model, torch.zeros(1, *shape))
    assert isinstance(found, Graph), found
    assert not found.opaque
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters()}
    return all(bool(mask.all()) for mask in effective_masks(found, masks).values())


@pytest.mark.parametrize(
    "name",
    [
        "fc",
        "conv",
        "lottery/vgg16",
        "lottery/vgg16-bn",
        "lottery/resnet20",
        "lottery/wide-resnet20",
        pytest.param("lottery/resnet110", marks=pytest.mark.slow),
    ],
)
def test_first_party_networks_are_traced(name: str) -> None:
    assert all_effective(Host.load().models.get(name)((3, 32, 32), 10), 3, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {}),
        ("resnet50", {}),
        ("wide_resnet50_2", {}),
        ("resnext50_32x4d", {}),
        ("densenet121", {}),
        ("vgg11", {}),
        ("vgg16_bn", {}),
        ("mobilenet_v2", {}),
        ("mobilenet_v3_small", {}),
        ("shufflenet_v2_x0_5", {}),
        ("squeezenet1_0", {}),
        ("googlenet", {"aux_logits": False, "init_weights": False}),
        ("efficientnet_b0", {}),
        ("regnet_y_400mf", {}),
        ("mnasnet0_5", {}),
        ("convnext_tiny", {}),
        ("alexnet", {}),
    ],
)
def test_networks_of_torchvision_are_traced(name: str, options: dict[str, object]) -> None:
    model = getattr(torchvision.models, name)(weights=None, num_classes=10, **options)
    # On smaller images some taps of the last kernels see only padding.
    assert all_effective(model, 3, 224, 224)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.mean((2, 3)),
        lambda x: x.mean((2, 3), keepdim=True).flatten(1),
        lambda x: x.view(x.size(0), -1),
        lambda x: x.permute(0, 2, 3, 1).reshape(1, -1, 4).sum(1),
        lambda x: x.amax(dim=(2, 3)).log_softmax(1),
        lambda x: torch.stack([x, x], 0).sum(0).flatten(1),
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1).flatten(1),
        lambda x: nn.functional.pixel_shuffle(x, 2).flatten(1),
        lambda x: nn.functional.interpolate(x, scale_factor=2).flatten(1),
        lambda x: nn.functional.glu(x, 1).flatten(1),
        lambda x: nn.functional.adaptive_max_pool2d(nn.functional.max_pool2d(x, 2), 1).flatten(1),
        lambda x: x.flatten(2).transpose(1, 2).matmul(x.flatten(2)).flatten(1),
        lambda x: {"logits": x.clamp(-1, 1).add_(1).flatten(1) if x.shape[1] == 4 else None},
    ],
)
def test_however_the_output_is_computed_all_that_is_kept_counts(
    function: Callable[[Tensor], object],
) -> None:
    assert all_effective(Of(function), 3, 4, 4)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda x: torch.linalg.inv(x), "aten.linalg_inv_ex"),
        (lambda x: x if float(x.sum()) < 1e9 else -x, "aten._local_scalar_dense"),
        (lambda x: torch.fft.fft2(x).abs(), "aten._fft"),
        (lambda x: torch.zeros(1, 2), "an output that is not computed from the input"),
        (lambda x: x.new_zeros(x.shape).narrow(1, 0, 2).copy_(x[:, :2]), "into a part of a tensor"),
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
    ],
)
def test_a_network_that_cannot_be_traced_gives_the_reason(
    function: Callable[[Tensor], object], reason: str
) -> None:
    found = trace(Of(function), torch.zeros(1, 3, 4, 4))
    assert isinstance(found, Untraceable)
    assert found.reason.startswith("Of: cannot follow")
    assert reason in found.reason
    assert "\n" not in found.reason


def test_weights_that_are_computed_from_others_are_named() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(3, 3)), nn.Linear(3, 2))
    found = trace(model, torch.zeros(1, 3))
    assert isinstance(found, Graph)
    assert {name.rpartition(".")[2] for name in found.opaque} == {"original0", "original1"}


def test_tensors_filled_through_a_view_are_not_mistaken_for_constants() -> None:
    def filled(x: Tensor) -> Tensor:
        out = x.new_zeros(x.shape)
        out.view(-1).copy_(x.reshape(-1))
        return out.flatten(1)

    assert isinstance(trace(Of(filled), torch.zeros(1, 3, 4, 4)), Untraceable)


def test_the_network_and_torch_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    model[1].eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    trace(model, torch.ones(1, 3, 2, 2))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_parameters_in_another_memory_layout_have_the_same_description() -> None:
    model = Host.load().models.get("lottery/resnet20")((3, 32, 32), 10)
    x = torch.zeros(1, 3, 32, 32)
    masks = {n: torch.rand(p.shape) < 0.2 for n, p in model.named_parameters() if p.ndim > 1}
    plain = trace(model, x)
    moved = trace(model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last))
    assert isinstance(plain, Graph)
    assert isinstance(moved, Graph)
    expected, found = effective_masks(plain, masks), effective_masks(moved, masks)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())
