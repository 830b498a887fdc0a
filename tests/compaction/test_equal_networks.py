"""A compact network computes what the whole masked one does, and learns what it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench import prune
from synflow_bench.compaction import CompactNetwork
from synflow_bench.host import Host
from synflow_bench.metrics import uses_of_weights

Make = Callable[..., CompactNetwork]
Masks = Mapping[str, Tensor]
SHAPE = (2, 8, 8)
POSITIONS = {14 * 4: 4, 9 * 16: 16, 6 * 64: 64}
"""The inputs per channel of a linear layer after a flatten, by its number of inputs."""


@pytest.fixture
def masks(whole: nn.Module) -> Masks:
    """Masks by chance; in all layers but the first, about half of the channels are dead."""
    found: dict[str, Tensor] = {}
    for name, layer in whole.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            continue
        mask = torch.rand_like(layer.weight) < 0.6
        inputs = mask if isinstance(layer, nn.ConvTranspose2d) else mask.transpose(0, 1)
        each = POSITIONS.get(len(inputs), 1)
        if found and getattr(layer, "groups", 1) == 1:
            inputs[(torch.rand(len(inputs) // each) < 0.5).repeat_interleave(each)] = False
        found[f"{name}.weight"] = mask
    tied = dict(whole.named_parameters())
    return {name: mask for name, mask in found.items() if name in tied}


@torch.no_grad()
def zeroed(model: nn.Module, masks: Masks) -> nn.Module:
    copy = deepcopy(model)
    for name, parameter in copy.named_parameters():
        if name in masks:
            parameter.mul_(masks[name])
    return copy


def tensors(model: nn.Module) -> dict[str, Tensor]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in named if tensor.is_floating_point()}


def train(model: nn.Module, masks: Masks, steps: int = 6) -> nn.Module:
    """Masks in the forward pass, momentum, weight decay, and gradients clipped by their norm."""
    parameters = dict(model.named_parameters())
    velocity = {name: torch.zeros_like(p) for name, p in parameters.items()}
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask)
    for _ in range(steps):
        inputs = torch.randn(7, *SHAPE, generator=generator, dtype=torch.float64)
        labels = torch.randint(5, (7,), generator=generator)
        seen = {n: p * masks[n] if n in masks else p for n, p in parameters.items()}
        loss = cross_entropy(torch.func.functional_call(model.train(), seen, (inputs,)), labels)
        gradients = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
        norm = torch.stack([g.square().sum() for g in gradients.values()]).sum().sqrt()
        with torch.no_grad():
            for name, p in parameters.items():
                gradient = gradients[name] * min(1.0, 0.5 / float(norm)) + 0.01 * p
                velocity[name] = 0.9 * velocity[name] + gradient
                p -= 0.1 * velocity[name]
    return model


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("training", [False, True])
def test_logits_are_equal(
    whole: nn.Module, masks: Masks, compacted: Make, dtype: torch.dtype, tolerance: float, training: bool
) -> None:
    whole = whole.to(dtype)
    small = compacted(whole, masks)
    inputs = torch.randn(9, *SHAPE, dtype=dtype)
    expected = zeroed(whole, masks).train(training)(inputs)
    found = zeroed(small.model, small.masks).train(training)(inputs)
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    entries = sum(t.numel() for t in tensors(small.model).values())
    assert small.share == pytest.approx(entries / sum(t.numel() for t in tensors(whole).values()), rel=1e-2)


def test_the_whole_network_is_left_as_it_was(whole: nn.Module, masks: Masks, compacted: Make) -> None:
    before, modes = tensors(whole), [module.training for module in whole.modules()]
    state = torch.get_rng_state()
    train(compacted(whole, masks).model, {}, steps=0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in tensors(whole).items())
    assert modes == [module.training for module in whole.modules()]
    assert torch.equal(state, torch.get_rng_state())


def test_survivors_learn_the_same_and_are_expanded(whole: nn.Module, masks: Masks, compacted: Make) -> None:
    before = tensors(whole)
    reference = train(deepcopy(whole), masks)
    small = compacted(whole, masks)
    # No two entries are alike, so values show the places from which they came.
    places = {name: torch.isin(before[name], t) for name, t in tensors(small.model).items()}
    train(small.model, small.masks)
    after, learned = tensors(small.model), tensors(reference)
    read = statistics_that_matter(reference, masks)
    assert any(bool(place.any()) and not bool(place.all()) for place in places.values())
    for name, place in places.items():
        found, expected = after[name].flatten(), learned[name][place]
        judged = read[name][place] if name in read else torch.ones_like(found, dtype=torch.bool)
        torch.testing.assert_close(found[judged], expected[judged], rtol=0, atol=1e-10)

    small.expand()
    for name, tensor in tensors(whole).items():
        gone, mask = ~places[name], masks.get(name, torch.ones_like(tensor, dtype=torch.bool))
        assert torch.equal(tensor[places[name]], after[name].flatten())
        assert torch.equal(tensor[gone & mask], before[name][gone & mask])
        assert not tensor[~mask].any()
    inputs = torch.randn(9, *SHAPE, dtype=torch.float64)
    for training in (False, True):
        logits = (model.train(training)(inputs) for model in (deepcopy(whole), deepcopy(reference)))
        torch.testing.assert_close(*logits, rtol=1e-10, atol=1e-10)


def test_biases_and_scales_may_be_masked(whole: nn.Module, masks: Masks, compacted: Make) -> None:
    others = {n: torch.rand_like(p) < 0.7 for n, p in whole.named_parameters() if p.dim() == 1}
    everything = {**masks, **others}
    reference = train(deepcopy(whole), everything, steps=3)
    small = compacted(whole, everything)
    train(small.model, small.masks, steps=3)
    small.expand()
    inputs = torch.randn(9, *SHAPE, dtype=torch.float64)
    expected = reference.eval()(inputs)
    for model in (small.model, whole):
        torch.testing.assert_close(model.eval()(inputs), expected, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def statistics_that_matter(model: nn.Module, masks: Masks) -> dict[str, Tensor]:
    """Find the entries of running statistics that can change the logits, by changing them one by one.

    Those of a node that stays only because a sum needs it may differ: its own sources are gone.
    """
    model = zeroed(model, masks).eval()
    inputs = torch.randn(9, *SHAPE, dtype=torch.float64)
    expected, found = model(inputs), {}
    for name, buffer in model.named_buffers():
        if not buffer.is_floating_point() or "running" not in name:
            continue
        change = torch.zeros_like(buffer, dtype=torch.bool)
        for entry in range(buffer.numel()):
            kept = float(buffer[entry])
            buffer[entry] = kept + 50
            change[entry] = not torch.equal(model(inputs), expected)
            buffer[entry] = kept
        found[name] = change
    return found


IMAGE = (3, 32, 32)


def macs(model: nn.Module) -> int:
    uses, _ = uses_of_weights(model, torch.zeros(1, *IMAGE))
    return sum(count * model.get_parameter(name).numel() for name, count in uses.items())


@pytest.fixture(scope="module")
def vgg() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: nn.Module = Host.load().models.get("lottery/vgg16-bn")(IMAGE, 10)
    return model


@pytest.mark.slow
@pytest.mark.parametrize(("compression", "share"), [(10, 0.655), (100, 0.216), (1000, 0.028)])
@torch.no_grad()
def test_synflow_leaves_a_share_of_the_products(
    vgg: nn.Module, compacted: Callable[..., CompactNetwork], compression: int, share: float
) -> None:
    masks = prune(vgg, "synflow", compression=compression, input_shape=IMAGE)
    small = compacted(vgg, masks, IMAGE)
    found = macs(small.model) / macs(vgg)
    assert found == pytest.approx(share, rel=0.1)
    inputs = torch.randn(4, *IMAGE)
    masked = [
        torch.func.functional_call(
            model.eval(), {n: p * kept[n] if n in kept else p for n, p in model.named_parameters()}, (inputs,)
        )
        for model, kept in ((vgg, masks), (small.model, small.masks))
    ]
    assert (masked[0] - masked[1]).abs().max() <= 1e-5 * masked[0].abs().max()
