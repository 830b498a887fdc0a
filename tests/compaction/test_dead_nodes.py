"""A node goes if and only if it cannot change the output, except for those that must stay with others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synflow_bench.compaction import CompactNetwork, compact
from synflow_bench.graph import trace

Make = Callable[..., CompactNetwork]


class Chain(nn.Module):
    """Three layers in a row."""

    bound = (["a"], ["b"])

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.b(self.a(x)))
        return logits


class Image(nn.Module):
    """Convolutions, then a flatten of 2x2 positions."""

    bound = (["a"], ["b"])

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 4, 1), nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.b(self.a(x[:, :, None, None].expand(-1, -1, 2, 2))).flatten(1))
        return logits


class Block(nn.Module):
    """A stem and a branch that are summed: their nodes stay or go in pairs."""

    bound = (["stem", "outer"], ["inner"])

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Linear(3, 4), nn.Linear(4, 5)
        self.outer, self.last = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        logits: Tensor = self.last(x + self.outer(self.inner(x)))
        return logits


class Fork(nn.Module):
    """Two branches side by side."""

    bound = (["a"], ["b"])

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(3, 4), nn.Linear(3, 5), nn.Linear(9, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.cat([self.a(x), self.b(x)], 1))
        return logits


def nodes_that_matter(model: nn.Module, layer: str) -> list[bool]:
    """Change each output of `layer` and see whether the logits change; weights are not negative."""
    change = torch.zeros(0)
    module = model.get_submodule(layer)
    inputs = torch.ones(1, 3, dtype=torch.float64)
    expected = model(inputs)

    def shift(_: nn.Module, __: object, output: Tensor) -> Tensor:
        return output + change.view(1, -1, *[1] * (output.dim() - 2))

    matters = []
    with module.register_forward_hook(shift):
        for node in torch.eye(len(module.weight), dtype=torch.float64):
            change = node
            matters.append(not torch.equal(model(inputs), expected))
    return matters


def nodes_that_stay(model: nn.Module, small: nn.Module, layer: str) -> list[bool]:
    """By their biases, no two of which are alike."""
    biases = (network.get_submodule(layer).bias for network in (model, small))
    return torch.isin(*biases).tolist()


@pytest.mark.parametrize("network", [Chain, Image, Block, Fork])
@given(seed=st.integers(0, 10**6), density=st.floats(0.05, 0.6))
@settings(max_examples=12)
@torch.no_grad()
def test_a_node_goes_if_and_only_if_it_does_not_matter(
    network: Callable[[], Block], seed: int, density: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = network().double()
    for parameter in model.parameters():
        parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=torch.float64) + 0.5)
    masks = {
        name: torch.rand(p.shape, generator=generator) < density
        for name, p in model.named_parameters()
        if p.dim() > 1
    }
    for name, mask in masks.items():
        model.get_parameter(name).mul_(mask)
    found = compact(model, masks, trace(model, torch.zeros(1, 3, dtype=torch.float64)), (3,), max_share=1.0)
    assert found is not None
    for layers in model.bound:
        matter = [any(nodes) for nodes in zip(*(nodes_that_matter(model, n) for n in layers), strict=True)]
        for layer in layers:
            stay = nodes_that_stay(model, found.model, layer)
            assert stay == matter if any(matter) else sum(stay) == 1, layer
    assert all(nodes_that_stay(model, found.model, "last"))


def keep_inputs(masks: dict[str, Tensor], name: str, kept: Sequence[int]) -> None:
    gone = torch.ones(masks[name].shape[1], dtype=torch.bool)
    gone[list(kept)] = False
    masks[name][:, gone] = False


def ones(model: nn.Module) -> dict[str, Tensor]:
    return {n: torch.ones_like(p, dtype=torch.bool) for n, p in model.named_parameters() if p.dim() > 1}


class Stage(nn.Module):
    """A stem and two residual blocks with batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        for number in (1, 2):
            self.add_module(f"inner{number}", nn.Conv2d(6, 8, 3, padding=1))
            self.add_module(f"bn{number}", nn.BatchNorm2d(8))
            self.add_module(f"outer{number}", nn.Conv2d(8, 6, 3, padding=1))
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for number in ("1", "2"):
            inner, bn, outer = (self.get_submodule(name + number) for name in ("inner", "bn", "outer"))
            x = x + outer(bn(inner(x)).relu())
        logits: Tensor = self.last(x.mean((2, 3)))
        return logits


def test_channels_inside_a_residual_block_go(compacted: Make) -> None:
    model = Stage()
    masks = ones(model)
    keep_inputs(masks, "outer1.weight", [1, 4, 5])
    small = compacted(model, masks, (2, 6, 6)).model
    assert small.inner1.weight.shape == (3, 6, 3, 3)
    assert small.bn1.num_features == 3
    assert small.outer1.weight.shape == (6, 3, 3, 3)
    assert small.outer1.in_channels == 3
    assert torch.equal(small.inner1.weight, model.inner1.weight[[1, 4, 5]])
    assert small.inner2.weight.shape == (8, 6, 3, 3)


def test_channels_between_blocks_go_where_no_block_reads_them(compacted: Make) -> None:
    model = Stage()
    masks = ones(model)
    for reader, kept in {"inner1": [0, 2], "inner2": [2], "last": [2, 3]}.items():
        keep_inputs(masks, f"{reader}.weight", kept)
    small = compacted(model, masks, (2, 6, 6)).model
    assert torch.equal(small.stem.bias, model.stem.bias[[0, 2, 3]])
    assert small.outer2.weight.shape[0] == small.last.in_features == 3


def test_what_feeds_only_a_channel_that_stays_to_fit_a_sum_goes(compacted: Make) -> None:
    model = Stage()
    masks = ones(model)
    keep_inputs(masks, "last.weight", [1, 2])
    # Channel 0 is read by the first block alone: the second block's output has it, and nothing reads it.
    keep_inputs(masks, "outer2.weight", [0, 3])
    masks["outer2.weight"][1:, 3] = False
    masks["outer2.weight"][0, 0] = False
    small = compacted(model, masks, (2, 6, 6)).model
    assert small.stem.out_channels == 6
    assert torch.equal(small.inner2.bias, model.inner2.bias[[0]])


def test_a_dead_branch_leaves_one_channel(compacted: Make) -> None:
    model = Stage()
    masks = ones(model)
    masks["outer2.weight"][:] = False
    small = compacted(model, masks, (2, 6, 6)).model
    assert small.inner2.weight.shape == (1, 6, 3, 3)
    assert small.inner1.weight.shape == (8, 6, 3, 3)


def test_a_network_without_any_path_keeps_a_channel_a_layer(compacted: Make) -> None:
    model = Stage()
    small = compacted(model, {name: torch.zeros_like(mask) for name, mask in ones(model).items()}, (2, 6, 6))
    shapes = {name: tuple(p.shape) for name, p in small.model.named_parameters() if p.dim() > 1}
    assert shapes["stem.weight"] == (1, 2, 3, 3)
    assert shapes["inner1.weight"] == (1, 1, 3, 3)
    assert shapes["last.weight"] == (3, 1)


def test_nodes_that_share_statistics_all_stay_with_what_feeds_them(compacted: Make) -> None:
    layers = nn.Linear(3, 8), nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 2)
    model = nn.Sequential(*layers)
    masks = ones(model)
    keep_inputs(masks, "3.weight", [0])
    masks["1.weight"][0] = False
    masks["1.weight"][0, 0] = True
    keep_inputs(masks, "1.weight", [0, 1, 2])
    small = compacted(model, masks, (3,)).model
    assert torch.equal(small[0].bias, model[0].bias[:3])
    assert small[2].weight.shape == (6,)


def test_nodes_that_meet_a_constant_stay(compacted: Make) -> None:
    class Shifted(Chain):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(self.b(self.a(x) + torch.arange(5)))
            return logits

    model = Shifted()
    masks = ones(model)
    keep_inputs(masks, "b.weight", [0])
    keep_inputs(masks, "last.weight", [1, 2])
    small = compacted(model, masks, (3,)).model
    assert small.a.out_features == 5
    assert small.b.out_features == 2


def test_a_padded_shortcut_is_compacted_as_far_as_its_constants_let_it(compacted: Make) -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.bn = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(6)
            self.inner, self.outer = nn.Conv2d(6, 8, 1), nn.Conv2d(8, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.bn(nn.functional.pad(self.stem(x), (0, 0, 0, 0, 1, 1)))
            logits: Tensor = self.outer(self.inner(x).relu()).mean((2, 3))
            return logits

    model = Padded()
    masks = ones(model)
    keep_inputs(masks, "outer.weight", [2])
    keep_inputs(masks, "inner.weight", [0, 1, 2])
    small = compacted(model, masks, (2, 4, 4)).model
    assert small.stem.out_channels == 2
    assert small.bn.num_features == 4
    assert small.inner.weight.shape == (1, 4, 1, 1)


def test_a_tensor_that_is_also_read_in_part_stays_and_others_are_sliced(compacted: Make) -> None:
    class Sliced(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(3, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.b(self.a(x)) + nn.functional.linear(self.other(x), self.b.weight[:1])
            logits: Tensor = self.last(x)
            return logits

    model = nn.Sequential(nn.Linear(3, 9), nn.Linear(9, 3), Sliced())
    masks = ones(model)
    keep_inputs(masks, "1.weight", [2, 5])
    keep_inputs(masks, "2.b.weight", [1])
    keep_inputs(masks, "2.last.weight", [1, 2])
    small = compacted(model, masks, (3,)).model
    assert small[0].out_features == 2
    assert small[2].b.weight.shape == (4, 5)


def test_a_layer_of_one_node_stays_beside_others(compacted: Make) -> None:
    class Narrow(Fork):
        def __init__(self) -> None:
            super().__init__()
            self.b, self.last = nn.Linear(3, 1), nn.Linear(5, 2)

    model = Narrow()
    masks = ones(model)
    keep_inputs(masks, "last.weight", [0, 3])
    small = compacted(model, masks, (3,)).model
    assert small.a.out_features == 2
    assert small.b.out_features == 1
    assert torch.equal(small.last.weight, model.last.weight[:, [0, 3, 4]])
