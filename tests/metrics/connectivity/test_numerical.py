"""Effective weights, against their numerical definition: what SynFlow scores above zero on unit weights.

With all-ones input, every kept weight one and all that adds a constant left out, the gradient of the summed
output is positive exactly at the weights on a path. Masks take whole kernels here, since single positions may
see nothing but padding.
"""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from synflow_bench.host import Host
from synflow_bench.metrics.connectivity import Connectivity, effective_masks, trace

KINDS = (nn.Linear, nn.modules.conv._ConvNd, _BatchNorm)


def network(name: str) -> nn.Module:
    if name.startswith("torchvision/"):
        model = getattr(torchvision.models, name.removeprefix("torchvision/"))(weights=None, num_classes=10)
        return positive_half(model)
    return Host.load().models.get(name)((3, 32, 32), 10)


def positive_half(model: nn.Module) -> nn.Module:
    """With ReLU in place of ReLU6, whose gradient is zero above six."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU6):
                setattr(module, name, nn.ReLU())
    return model


def random_masks(model: nn.Module, density: float) -> dict[str, Tensor]:
    masks = {}
    for path, module in model.named_modules():
        if isinstance(module, KINDS):
            shape = module.weight.shape
            share = 0.95 if isinstance(module, _BatchNorm) else density
            kept = torch.rand(shape[:2]) < share
            masks[f"{path}.weight"] = kept.view(*shape[:2], *[1] * (len(shape) - 2)).expand(shape).clone()
    return masks


def scored(model: nn.Module, masks: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    model.double().eval()
    for name, parameter in model.named_parameters():
        parameter.data = masks[name].double() if name in masks else torch.zeros_like(parameter)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
    model(torch.ones(1, 3, size, size, dtype=torch.float64)).sum().backward()
    # What the network does not use has no gradient at all.
    gradients = {name: model.get_parameter(name).grad for name in masks}
    return {
        name: mask & (gradient != 0) if gradient is not None else torch.zeros_like(mask)
        for (name, mask), gradient in zip(masks.items(), gradients.values(), strict=True)
    }


def by_kernel(masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: mask.flatten(2).any(-1) if mask.ndim > 2 else mask for name, mask in masks.items()}


@pytest.mark.parametrize("density", [0.06, 0.3])
@pytest.mark.parametrize(
    "name",
    [
        "fc",
        "conv",
        "lottery/vgg11-bn",
        "lottery/resnet20",
        "torchvision/shufflenet_v2_x0_5",
        pytest.param("torchvision/resnet18", marks=pytest.mark.slow),
        pytest.param("torchvision/mobilenet_v2", marks=pytest.mark.slow),
        pytest.param("torchvision/densenet121", marks=pytest.mark.slow),
        pytest.param("torchvision/googlenet", marks=pytest.mark.slow),
        pytest.param("torchvision/resnext50_32x4d", marks=pytest.mark.slow),
        pytest.param("torchvision/squeezenet1_1", marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet:FutureWarning")
def test_a_weight_is_effective_when_its_score_is_not_zero(name: str, density: float) -> None:
    torch.manual_seed(1)
    model = network(name)
    connectivity = trace(model, torch.zeros(1, 3, 32, 32))
    assert isinstance(connectivity, Connectivity), connectivity
    masks = random_masks(model, density)
    found = by_kernel(effective_masks(connectivity, masks))
    expected = by_kernel(scored(model, masks, 32))
    assert density < 0.1 or any(bool(mask.any()) for mask in found.values())
    assert not [key for key in masks if not torch.equal(found[key], expected[key])]
