"""How much goes out of lottery/vgg16-bn under masks of synflow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from synflow_bench import prune
from synflow_bench.host import Host
from synflow_bench.shrinking import Shrunk

SHAPE = (3, 32, 32)


@torch.no_grad()
def macs(model: nn.Module) -> int:
    """Products of one example, counted as layers run."""
    found = 0

    def count(layer: nn.Module, _: object, output: Tensor) -> None:
        nonlocal found
        found += output[0].numel() * layer.weight[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    model.eval()(torch.zeros(1, *SHAPE))
    for hook in hooks:
        hook.remove()
    return found


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = Host.load().models.get("lottery/vgg16-bn")(SHAPE, 10)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(("compression", "share"), [(10, 0.655), (100, 0.216), (1000, 0.028)])
@torch.no_grad()
def test_synflow_leaves_a_share_of_the_products(
    vgg: nn.Module, shrunk: Callable[..., Shrunk], compression: int, share: float
) -> None:
    masks = prune(vgg, "synflow", compression=compression, input_shape=SHAPE)
    small = shrunk(vgg, masks, SHAPE)
    found = macs(small.model) / macs(vgg)
    assert found == pytest.approx(share, rel=0.1)
    inputs = torch.randn(4, *SHAPE)
    masked = [
        torch.func.functional_call(
            model.eval(), {n: p * kept[n] if n in kept else p for n, p in model.named_parameters()}, (inputs,)
        )
        for model, kept in ((vgg, masks), (small.model, small.masks))
    ]
    assert (masked[0] - masked[1]).abs().max() <= 1e-5 * masked[0].abs().max()
