"""Effective weights and reachable nodes: by hand, against every path, and against a numerical definition."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from synflow_bench.graph import Graph, LayerEdges, Reachability, effective_masks, reachable, trace
from synflow_bench.host import Host
from synflow_bench.pruning import ResidualScale

Effective = Callable[..., dict[str, list[int]]]


class Applied(nn.Module):
    """Calls `function` with itself, which holds `layers`, and the input."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def linear(inputs: int, outputs: int) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=False)


def conv(inputs: int, outputs: int, **options: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, bias=False, **options)


def test_a_weight_counts_when_something_leads_to_it_and_on_from_it(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(net.a(x).relu()), a=linear(2, 3), b=linear(3, 2))
    # Hidden node 0 is reachable from both ends, node 1 from the input only, node 2 from the output only.
    left = effective(net, (2,), a__weight=[1, 0, 0, 1, 0, 0], b__weight=[1, 0, 1, 0, 0, 1])
    assert left == {"a.weight": [1, 0, 0, 0, 0, 0], "b.weight": [1, 0, 0, 0, 0, 0]}


def test_where_no_path_is_left_nothing_counts(effective: Effective) -> None:
    net = nn.Sequential(linear(2, 2), nn.ReLU(), linear(2, 2), nn.ReLU(), linear(2, 1))
    left = effective(net, (2,), **{"2__weight": [0, 0, 0, 0]})
    assert sum(map(sum, left.values())) == 0


@pytest.mark.parametrize("position", range(9))
def test_any_position_of_a_kernel_is_an_edge(effective: Effective, position: int) -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Flatten(), nn.Linear(16, 1))
    kernel = [int(i == position) for i in range(9)]
    assert effective(net, (1, 4, 4), **{"0__weight": kernel})["0.weight"] == kernel


def test_a_flattened_channel_is_a_block_of_features(effective: Effective) -> None:
    net = nn.Sequential(conv(1, 2), nn.Flatten(), linear(8, 2))
    masks = {"0__weight": [0, 1], "2__weight": [1, 1, 1, 1, 0, 1, 0, 0, 1, *[0] * 7]}
    left = effective(net, (1, 2, 2), **masks)
    assert left == {"0.weight": [0, 1], "2.weight": [0, 0, 0, 0, 0, 1, 0, 0] + [0] * 8}


def test_groups_see_their_own_channels_only(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(net.a(x)), a=conv(2, 4), b=conv(4, 2, groups=2))
    # Group 0 reads channels 0 and 1, of which the input reaches 1; group 1 reads 2 and 3, which it does not.
    left = effective(net, (2, 3, 3), a__weight=[0, 0, 1, 0, 0, 0, 0, 0], b__weight=[1, 1, 1, 1])
    assert left == {"a.weight": [0, 0, 1, 0, 0, 0, 0, 0], "b.weight": [0, 1, 0, 0]}


def test_a_transposed_convolution_in_groups_is_laid_out_the_other_way(effective: Effective) -> None:
    up = nn.ConvTranspose2d(4, 2, 1, groups=2, bias=False)
    net = Applied(lambda net, x: net.b(net.a(x)), a=conv(1, 4), b=up)
    left = effective(net, (1, 3, 3), a__weight=[1, 0, 1, 1], b__weight=[1, 1, 0, 1])
    assert left == {"a.weight": [1, 0, 0, 1], "b.weight": [1, 0, 0, 1]}


def test_a_residual_sum_is_reached_from_either_side(effective: Effective) -> None:
    net = Applied(lambda net, x: net.c(net.a(x) + net.b(net.a(x))), a=conv(1, 2), b=conv(2, 2), c=conv(2, 1))
    # Branch b is empty: what it reads and feeds still counts through the shortcut.
    left = effective(net, (1, 3, 3), b__weight=[0, 0, 0, 0])
    assert left == {"a.weight": [1, 1], "b.weight": [0, 0, 0, 0], "c.weight": [1, 1]}


def test_a_weight_that_feeds_a_dead_channel_of_a_sum_does_not_count(effective: Effective) -> None:
    net = Applied(lambda net, x: net.c(net.a(x) + net.b(net.a(x))), a=conv(1, 2), b=conv(2, 2), c=conv(2, 1))
    left = effective(net, (1, 3, 3), c__weight=[1, 0])
    assert left["b.weight"] == [1, 1, 0, 0], "channel 1 is read by b alone"
    assert left["a.weight"] == [1, 1]


def test_a_residual_scale_cuts_its_channel_of_the_shortcut(effective: Effective) -> None:
    def block(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(net.b(x) + net.s(x))

    net = Applied(block, a=conv(1, 2), b=conv(2, 2), c=conv(2, 1), s=ResidualScale(2))
    left = effective(net, (1, 3, 3), b__weight=[0, 0, 0, 0], s__scale=[1, 0])
    assert left == {"a.weight": [1, 0], "b.weight": [0] * 4, "c.weight": [1, 0], "s.scale": [1, 0]}


def test_concatenated_channels_stay_themselves(effective: Effective) -> None:
    def joined(net: nn.Module, x: Tensor) -> Tensor:
        return net.c(torch.cat([net.a(x), net.b(x)], 1))

    net = Applied(joined, a=conv(1, 2), b=conv(1, 1), c=conv(3, 1))
    left = effective(net, (1, 3, 3), a__weight=[1, 0], c__weight=[0, 1, 1])
    assert left == {"a.weight": [0, 0], "b.weight": [1], "c.weight": [0, 0, 1]}


def test_channels_that_are_shuffled_are_followed(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(F.channel_shuffle(net.a(x), 2)), a=conv(1, 4), b=conv(4, 1))
    # Two groups of two: channels 0 1 2 3 come out as 0 2 1 3.
    left = effective(net, (1, 3, 3), b__weight=[0, 1, 0, 0])
    assert left["a.weight"] == [0, 0, 1, 0]


def test_a_shortcut_padded_with_zeros_feeds_only_what_it_has(effective: Effective) -> None:
    def padded(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(net.b(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 1, 1)))

    net = Applied(padded, a=conv(1, 2), b=nn.Conv2d(2, 4, 1, stride=2, bias=False), c=conv(4, 1))
    left = effective(net, (1, 4, 4), b__weight=[0] * 8)
    assert left == {"a.weight": [1, 1], "b.weight": [0] * 8, "c.weight": [0, 1, 1, 0]}


def test_a_pruned_batch_norm_scale_cuts_its_channel(effective: Effective) -> None:
    net = nn.Sequential(conv(1, 2), nn.BatchNorm2d(2), nn.ReLU(), conv(2, 1))
    left = effective(net, (1, 3, 3), **{"1__weight": [1, 0]})
    # Its shift makes the channel a constant, which is no path, and so does not count either.
    assert left == {"0.weight": [1, 0], "1.weight": [1, 0], "1.bias": [1, 0], "3.weight": [1, 0]}


def test_a_bias_counts_when_its_unit_is_on_a_path_and_opens_none(effective: Effective) -> None:
    net = nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 2))
    masks = {"0__weight": [1, 0], "0__bias": [0, 1], "2__weight": [1, 1, 0, 1], "2__bias": [1, 1]}
    left = effective(net, (1,), **masks)
    assert left["0.bias"] == [0, 0], "the first is pruned, the second belongs to a constant node"
    assert left["2.weight"] == [1, 0, 0, 0]
    assert left["2.bias"] == [1, 0]


def test_a_weight_used_twice_counts_when_one_use_does(effective: Effective) -> None:
    net = Applied(lambda net, x: net.b(net.a(net.a(x))), a=linear(2, 2), b=linear(2, 1))
    # 0 -> 1 in the first use, 1 -> 0 in the second: each use needs one of the two weights.
    left = effective(net, (2,), a__weight=[0, 1, 1, 0], b__weight=[1, 0])
    assert left["a.weight"] == [0, 1, 1, 0]


def test_tied_weights_count_under_their_first_name(effective: Effective) -> None:
    net = nn.Sequential(linear(2, 2), nn.ReLU(), linear(2, 2), nn.ReLU(), linear(2, 1))
    net[2].weight = net[0].weight
    left = effective(net, (2,), **{"0__weight": [1, 0, 0, 0], "4__weight": [1, 1]})
    assert left == {"0.weight": [1, 0, 0, 0], "4.weight": [1, 0]}


@pytest.mark.parametrize(
    ("norm", "shared"),
    [
        (nn.GroupNorm(1, 2), 1),
        (nn.GroupNorm(1, 2, affine=False), 1),
        (nn.GroupNorm(2, 2), 0),
        (nn.InstanceNorm2d(2), 0),
        (nn.LayerNorm([2, 3, 3]), 1),
        (nn.Softmax(1), 1),
        (nn.Softmax(2), 0),
    ],
    ids=str,
)
def test_what_channels_share_joins_them(effective: Effective, norm: nn.Module, shared: int) -> None:
    net = nn.Sequential(conv(1, 2), norm, conv(2, 1))
    assert effective(net, (1, 3, 3), **{"2__weight": [0, 1]})["0.weight"] == [shared, 1]
    assert effective(net, (1, 3, 3), **{"0__weight": [1, 0]})["2.weight"] == [1, shared]


def encoder(*, norm_first: bool = False) -> nn.Module:
    return nn.TransformerEncoderLayer(8, 2, 8, 0.0, batch_first=True, bias=False, norm_first=norm_first)


def test_heads_of_attention_share_no_softmax() -> None:
    torch.manual_seed(0)
    model = encoder()
    graph = trace(model, torch.zeros(1, 5, 8))
    assert isinstance(graph, Graph), graph
    masks = {
        name: torch.ones_like(p, dtype=torch.bool) for name, p in model.named_parameters() if p.dim() > 1
    }
    masks["self_attn.out_proj.weight"][:, 4:] = False  # the second head
    found = effective_masks(graph, masks)["self_attn.in_proj_weight"]
    assert found.view(3, 2, 4, 8).flatten(2).any(2).tolist() == [[True, False]] * 3


def test_weights_that_are_not_effective_act_through_no_norm() -> None:
    """On networks with shared statistics, removing all weights that do not count changes nothing."""
    torch.manual_seed(0)
    convs = conv(3, 6), nn.GroupNorm(2, 6, affine=False), nn.ReLU(), conv(6, 2), nn.Flatten()
    nets = [
        (nn.Sequential(*convs, nn.Linear(32, 2)), (3, 4, 4)),
        *((encoder(norm_first=norm_first), (5, 8)) for norm_first in (False, True)),
    ]
    for net, shape in nets:
        net.double().eval()
        x = torch.randn(2, *shape, dtype=torch.float64)
        weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
        state = {name: p.detach().clone() for name, p in weights.items()}
        for _ in range(8):
            masks = {name: torch.rand(p.shape) < 0.25 for name, p in weights.items()}
            graph = trace(net, x[:1])
            assert isinstance(graph, Graph), graph
            outputs = []
            for kept in (masks, effective_masks(graph, masks)):
                for name, p in weights.items():
                    p.data.copy_(state[name] * kept[name])
                outputs.append(net(x).detach())
            torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)


def test_squeeze_and_excitation_feeds_every_channel_that_it_scales(effective: Effective) -> None:
    def excited(net: nn.Module, x: Tensor) -> Tensor:
        x = net.a(x)
        return net.c(x * net.s(x.mean((2, 3), keepdim=True)).sigmoid())

    net = Applied(excited, a=conv(1, 2), s=conv(2, 2), c=conv(2, 1))
    # Channel 1 is read only to scale channel 0.
    left = effective(net, (1, 3, 3), s__weight=[0, 1, 0, 0], c__weight=[1, 0])
    assert left == {"a.weight": [1, 1], "s.weight": [0, 1, 0, 0], "c.weight": [1, 0]}


def test_an_unused_layer_is_on_no_path(effective: Effective) -> None:
    net = Applied(lambda net, x: net.a(x), a=linear(2, 1), b=linear(2, 1))
    assert effective(net, (2,)) == {"a.weight": [1, 1], "b.weight": [0, 0]}


def test_what_is_zero_but_kept_is_an_edge_and_large_values_do_not_overflow(effective: Effective) -> None:
    net = nn.Sequential(linear(2, 2), nn.ReLU(), linear(2, 1))
    with torch.no_grad():
        net[0].weight.zero_()
        net[2].weight.fill_(3e38)
    assert effective(net, (2,)) == {"0.weight": [1, 1, 1, 1], "2.weight": [1, 1]}


Node = tuple[int, int]
Weight = tuple[str, int, int] | None
JOINS = ("plain", "residual", "concatenated", "gated")


@dataclass
class Paths:
    """All paths of a network; an edge may have a weight, which is kept or not."""

    edges: dict[Node, list[tuple[Node, Weight]]] = field(default_factory=dict)
    layers: int = 0

    def layer(self, width: int) -> list[Node]:
        self.layers += 1
        return [(self.layers, i) for i in range(width)]

    def add(self, source: Node, target: Node, weight: Weight = None) -> None:
        self.edges.setdefault(source, []).append((target, weight))

    def all(self, node: Node, ends: set[Node], masks: dict[str, Tensor]) -> Iterator[list[Weight]]:
        """Every path of kept weights from `node` to one of `ends`, as the weights on it."""
        if node in ends:
            yield []
        for target, weight in self.edges.get(node, []):
            if weight is None or masks[weight[0]][weight[1:]]:
                for rest in self.all(target, ends, masks):
                    yield [weight, *rest]


class Net(nn.Module):
    """Linear layers in the given order, each joined to what came before in its own way."""

    def __init__(self, inputs: int, plan: list[tuple[str, int]]) -> None:
        super().__init__()
        self.plan, self.layers, self.paths = plan, nn.ModuleList(), Paths()
        nodes = self.first = self.paths.layer(inputs)
        for i, (kind, width) in enumerate(plan):
            width = len(nodes) if kind in {"residual", "gated"} else width
            self.layers.append(nn.Linear(len(nodes), width))
            nodes = self._grow(f"layers.{i}.weight", kind, nodes, self.paths.layer(width))
        self.last = nodes

    def _grow(self, name: str, kind: str, before: list[Node], after: list[Node]) -> list[Node]:
        for o, target in enumerate(after):
            for i, source in enumerate(before):
                self.paths.add(source, target, (name, o, i))
        if kind in {"residual", "gated"}:
            for source, target in zip(before, after, strict=True):
                self.paths.add(source, target)
        return before + after if kind == "concatenated" else after

    def forward(self, x: Tensor) -> Tensor:
        for (kind, _), layer in zip(self.plan, self.layers, strict=True):
            y = layer(x.relu())
            match kind:
                case "residual":
                    x = x + y
                case "gated":
                    x = x * y.sigmoid()
                case "concatenated":
                    x = torch.cat([x, y], dim=1)
                case _:
                    x = y
        return x


@st.composite
def networks(draw: st.DrawFn) -> tuple[Net, dict[str, Tensor]]:
    plan = draw(st.lists(st.tuples(st.sampled_from(JOINS), st.integers(1, 3)), min_size=1, max_size=4))
    net = Net(draw(st.integers(1, 3)), plan)
    density = draw(st.sampled_from([0.2, 0.5, 0.8]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**16)))
    masks = {
        name: torch.rand(p.shape, generator=generator) < density
        for name, p in net.named_parameters()
        if p.ndim > 1
    }
    return net, masks


def described(net: Net) -> Graph:
    found = trace(net, torch.zeros(1, len(net.first)))
    assert isinstance(found, Graph)
    return found


@settings(max_examples=60)
@given(networks())
def test_a_weight_is_effective_when_some_path_has_it(drawn: tuple[Net, dict[str, Tensor]]) -> None:
    net, masks = drawn
    expected = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for start in net.first:
        for path in net.paths.all(start, set(net.last), masks):
            for weight in filter(None, path):
                expected[weight[0]][weight[1:]] = True
    found = effective_masks(described(net), masks)
    assert all(torch.equal(found[name], mask) for name, mask in expected.items())


@settings(max_examples=30)
@given(networks())
def test_removing_what_is_not_effective_changes_nothing_effective(
    drawn: tuple[Net, dict[str, Tensor]],
) -> None:
    net, masks = drawn
    graph = described(net)
    once = effective_masks(graph, masks)
    twice = effective_masks(graph, once)
    assert all(torch.equal(twice[name], mask) for name, mask in once.items())
    assert all(bool((masks[name] | ~mask).all()) for name, mask in once.items()), "it is part of what is kept"


@settings(max_examples=30)
@given(networks())
def test_dead_nodes_cannot_change_the_output(drawn: tuple[Net, dict[str, Tensor]]) -> None:
    net, masks = drawn
    graph = described(net)
    found = reachable(graph, masks)
    x = torch.randn(5, len(net.first))
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).mul_(mask)
        before = net(x)
        disturb(net, graph, found)
        assert torch.equal(net(x), before)


def disturb(net: Net, graph: Graph, found: Reachability) -> None:
    """Give other weights and biases to all dead nodes."""
    for i, step in enumerate(s for s in graph.steps if isinstance(s, LayerEdges)):
        dead = ~found.to_output[step.outputs]
        net.layers[i].weight[dead] += 1
        net.layers[i].bias[dead] += 1


MASKED = (nn.Linear, nn.modules.conv._ConvNd, _BatchNorm)


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
        if isinstance(module, MASKED):
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
    graph = trace(model, torch.zeros(1, 3, 32, 32))
    assert isinstance(graph, Graph), graph
    masks = random_masks(model, density)
    found = by_kernel(effective_masks(graph, masks))
    expected = by_kernel(scored(model, masks, 32))
    assert density < 0.1 or any(bool(mask.any()) for mask in found.values())
    assert not [key for key in masks if not torch.equal(found[key], expected[key])]


class Language(nn.Module):
    def __init__(self, *, tied: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.block(self.table(ids)))
        return out


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("density", [0.4, 0.6])
def test_token_networks_keep_every_weight_that_has_a_gradient(tied: bool, density: float) -> None:
    torch.manual_seed(0)
    model = Language(tied=tied).double().eval()
    graph = trace(model, torch.zeros(1, 7, dtype=torch.int64))
    assert isinstance(graph, Graph), graph
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    assert not graph.opaque & weights.keys()
    masks = {name: torch.rand(p.shape) < density for name, p in weights.items()}
    found = effective_masks(graph, masks)
    moved = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    for _ in range(5):
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.normal_().mul_(masks[name]) if name in masks else p.fill_(float("bias" not in name))
        out = model(torch.randint(11, (16, 7)))
        loss = (out * torch.randn_like(out)).sum()
        for name, gradient in zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True):
            moved[name] |= (gradient != 0) & masks[name]
    for name, mask in masks.items():
        assert not (moved[name] & ~found[name]).any(), name
        assert not (found[name] & ~mask).any()
    assert sum(int(m.sum()) for m in moved.values()) > 0.7 * sum(int(m.sum()) for m in found.values())


def test_an_embedding_is_a_linear_layer_of_tokens() -> None:
    net = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    graph = trace(net, torch.zeros(1, 4, dtype=torch.int64))
    assert isinstance(graph, Graph)
    masks = {"0.weight": torch.tensor([[1, 0], [1, 1], [0, 1]]), "1.weight": torch.tensor([[1, 0], [0, 0]])}
    found = effective_masks(graph, {name: mask.bool() for name, mask in masks.items()})
    assert found["0.weight"].tolist() == [[True, False], [True, False], [False, False]]


def test_several_inputs_are_followed() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(3, 2)

        def forward(self, x: tuple[Tensor, Tensor]) -> Tensor:
            out: Tensor = self.a(x[0]) + self.b(x[1])
            return out

    graph = trace(Sum(), (torch.ones(1, 2), torch.ones(1, 3)))
    assert isinstance(graph, Graph)
    assert graph.inputs.tolist() == [0, 1, 2, 3, 4]
