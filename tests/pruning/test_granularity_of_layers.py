"""Granularities in every kind of layer, with every pruner, and what depends on the masks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench import Masks, Problem, PruningOptions
from synflow_bench.compaction import compact
from synflow_bench.errors import HandledError, ModelError, NotDefinedError, UsageError
from synflow_bench.graph import trace
from synflow_bench.metrics import measure_size, uses_of_weights
from synflow_bench.testing.networks import (
    INPUT_SHAPE,
    ResidualNetwork,
    examples,
    plain,
    seeded,
    with_batch_norm,
)

Pose = Callable[..., Problem]


def prune(model: nn.Module, granularity: str, **arguments: Any) -> Masks:
    """Prune by magnitude, local by default; warnings may name layers that stay whole."""
    usual: dict[str, Any] = {"compression": 2, "options": PruningOptions(scope="local")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sfb.prune(model, "magnitude", **{**usual, "granularity": granularity, **arguments})


def removed(mask: Tensor, unit: int) -> list[bool]:
    """Return True for the units of a dimension of which nothing is kept."""
    found: list[bool] = (~mask.transpose(0, unit).flatten(1).any(1)).tolist()
    return found


class Depthwise(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3),
            nn.Conv2d(6, 6, 3, groups=6),
            nn.Conv2d(6, 4, 1),
            nn.Flatten(),
            nn.Linear(16, 3),
        )


def test_a_depthwise_convolution_goes_with_the_channels_that_pass_through_it() -> None:
    masks = prune(Depthwise(), "channel", input_shape=(3, 6, 6))
    assert any(removed(masks["1.weight"], 0))
    assert removed(masks["0.weight"], 0) == removed(masks["1.weight"], 0) == removed(masks["2.weight"], 1)


def test_a_group_of_a_convolution_stays_or_goes_as_one() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1, groups=4), nn.Flatten(), nn.Linear(8, 2))
    masks = prune(model, "channel", input_shape=(3, 1, 1))
    gone = removed(masks["1.weight"], 0)
    assert gone[::2] == gone[1::2]
    assert gone == removed(masks["0.weight"], 0) == removed(masks["3.weight"], 1)
    assert 0 < sum(gone) < 8


def test_units_of_a_transposed_convolution_are_its_second_dimension() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 3), nn.Flatten(), nn.Linear(54, 2))
    masks = prune(model, "channel", input_shape=(3, 1, 1))
    assert removed(masks["0.weight"], 0) == removed(masks["1.weight"], 0)
    assert removed(masks["1.weight"], 1) == removed(masks["3.weight"].view(2, 6, 9), 1)
    fan_in = prune(model, "fan-in", input_shape=(3, 1, 1))["1.weight"]
    assert len(set(fan_in.transpose(0, 1).flatten(1).sum(1).tolist())) == 1
    patterns = prune(model, "2:4", input_shape=(3, 1, 1))["1.weight"]
    assert torch.equal(patterns.sum(0), torch.full((6, 3, 3), 2))


@pytest.mark.parametrize(
    "layer", [nn.LSTM(8, 4, batch_first=True), nn.GRU(8, 4, batch_first=True)], ids=["lstm", "gru"]
)
def test_recurrent_matrices_have_units_and_patterns(layer: nn.Module) -> None:
    for granularity in ("fan-in", "2:4"):
        masks = prune(layer, granularity)
        for mask in masks.values():
            assert len(set(mask.sum(1).tolist())) == 1
            if granularity == "2:4":
                assert torch.equal(mask.view(-1, 4).sum(1), torch.full((mask.numel() // 4,), 2))


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.up, self.down = nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        x = self.norm(x + self.attention(x, x, x, need_weights=False)[0])
        logits: Tensor = self.head(x + self.down(self.up(x).relu()))
        return logits


def test_of_a_transformer_hidden_features_are_channels_and_the_rest_is_named() -> None:
    tokens = torch.zeros(1, 5, dtype=torch.int64)
    with pytest.warns(UserWarning, match="granularity 'channel': layers .*attention.* stay whole"):
        masks = sfb.prune(
            Attends(),
            "magnitude",
            compression=1.3,
            granularity="channel",
            example_inputs=tokens,
            skip="embedding",
        )
    assert removed(masks["up.weight"], 0) == removed(masks["down.weight"], 1)
    assert any(removed(masks["up.weight"], 0))
    for name in ("attention.in_proj_weight", "attention.out_proj.weight", "head.weight"):
        assert bool(masks[name].all())
    with pytest.raises(UsageError, match=r"compression 10 keeps .* stay whole have .* the largest here is"):
        prune(Attends(), "channel", compression=10, example_inputs=tokens)


def test_features_of_an_embedding_are_its_units() -> None:
    options = PruningOptions(prune_embedding=True)
    masks = prune(Attends(), "fan-in", options=options)
    assert len(set(masks["embedding.weight"].sum(0).tolist())) == 1
    assert len(set(masks["attention.in_proj_weight"].sum(1).tolist())) == 1


def test_layers_that_share_weights_lose_the_same_channels() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.last = nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.first(x).relu()
            logits: Tensor = self.last(self.again(self.again(x).relu()).relu())
            return logits

    masks = prune(Shared(), "channel", input_shape=(4,))
    gone = removed(masks["first.weight"], 0)
    assert (
        gone
        == removed(masks["again.weight"], 0)
        == removed(masks["again.weight"], 1)
        == removed(masks["last.weight"], 1)
    )
    assert any(gone)


def test_biases_and_batch_norm_go_with_their_channels() -> None:
    options = PruningOptions(prune_bias=True, prune_batchnorm=True, scope="local")
    masks = prune(seeded(with_batch_norm), "channel", input_shape=INPUT_SHAPE, options=options)
    gone = removed(masks["hidden.weight"], 0)
    assert any(gone)
    assert (
        gone
        == [not kept for kept in masks["bn2.weight"].tolist()]
        == [not kept for kept in masks["bn2.bias"].tolist()]
    )
    assert bool(masks["classifier.weight"].any(1).all())


def test_a_residual_stream_loses_a_channel_in_all_of_its_layers() -> None:
    masks = prune(seeded(ResidualNetwork), "channel", input_shape=INPUT_SHAPE, compression=3)
    stream = removed(masks["stem.weight"], 0)
    assert any(stream)
    assert (
        stream
        == removed(masks["conv2.weight"], 0)
        == removed(masks["conv1.weight"], 1)
        == removed(masks["classifier.weight"], 1)
    )
    assert removed(masks["conv1.weight"], 0) == removed(masks["conv2.weight"], 1)


@pytest.mark.parametrize("build", [plain, with_batch_norm, ResidualNetwork])
def test_removed_channels_cost_nothing_and_compaction_removes_them(build: Callable[[], nn.Module]) -> None:
    model = seeded(build).eval()
    masks = sfb.prune(model, "synflow", compression=2, granularity="channel", input_shape=INPUT_SHAPE)
    example = torch.ones(1, *INPUT_SHAPE)
    graph, (uses, _) = trace(model, example), uses_of_weights(model, example)
    size = measure_size(model, masks, uses, graph)
    assert size.effective_compression == size.compression == masks.compression
    small = compact(model, masks, graph, INPUT_SHAPE)
    assert small is not None
    assert all(bool(mask.all()) for mask in small.masks.values())
    macs = sum(
        p.numel() * count
        for name, count in uses.items()
        if (p := small.model.get_parameter(name)) is not None
    )
    dense = sum(
        p.numel() * count for name, count in uses.items() if (p := model.get_parameter(name)) is not None
    )
    assert size.theoretical_speedup == pytest.approx(dense / macs)
    masks.apply_(model)
    inputs = torch.randn(4, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(model(inputs), small.model.eval()(inputs), atol=1e-6)


class Concatenates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.grown = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)
        self.norm, self.last, self.head = nn.BatchNorm2d(12), nn.Conv2d(12, 6, 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = self.last(self.norm(torch.cat([x, self.grown(x)], 1)).relu())
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Excites(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 6, 1), nn.Linear(6, 3)
        self.squeeze, self.excite = nn.Linear(8, 4), nn.Linear(4, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        scale = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        logits: Tensor = self.head(self.last(x * scale[:, :, None, None]).mean((2, 3)))
        return logits


@pytest.mark.parametrize("build", [Concatenates, Excites, Depthwise])
def test_no_weight_of_a_removed_channel_stays(build: Callable[[], nn.Module]) -> None:
    model, example = build().eval(), torch.ones(1, 3, 6, 6)
    masks = prune(model, "channel", input_shape=(3, 6, 6))
    size = measure_size(model, masks, uses_of_weights(model, example)[0], trace(model, example))
    assert size.effective_compression == size.compression == masks.compression
    if isinstance(model, Concatenates):
        both = removed(masks["stem.weight"], 0) + removed(masks["grown.weight"], 0)
        assert both == removed(masks["last.weight"], 1)
        assert any(both)


OTHERS = {"uniform", "erk", "phew", "npb", "balanced", "igq", "smart-ratio", "uniform-plus"}
RANKING = {
    *("magnitude", "random", "lamp", "snip", "grasp", "grasp-abs", "iter-snip", "force", "fts"),
    *("synflow[rounds=10]", "synflow-l2[rounds=10]", "sampled[of=snip]", "ntk-sap[rounds=2]", "prospr"),
}


@pytest.mark.parametrize("name", sorted(RANKING | OTHERS))
def test_every_pruner_keeps_groups_or_says_that_it_cannot(name: str, pose: Pose) -> None:
    data = examples(torch.float32)
    for granularity in ("2:4", "kernel", "channel", "fan-in"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments: dict[str, Any] = {
                "compression": 2,
                "granularity": granularity,
                "input_shape": INPUT_SHAPE,
            }
            if name not in RANKING:
                with pytest.raises(NotDefinedError, match=granularity):
                    sfb.prune(seeded(plain), name, data=data, **arguments)
                continue
            masks = sfb.prune(seeded(plain), name, data=data, **arguments)
        options = PruningOptions(granularity=granularity)
        problem = pose(seeded(plain), INPUT_SHAPE, 5, options=options)
        assert problem.groups is not None
        assert problem.groups.fault(masks, problem.masks, 0.5) is None


def test_masks_without_scores_have_no_groups() -> None:
    with pytest.raises(NotDefinedError, match="without scores, and granularity 'channel' ranks groups"):
        sfb.prune(seeded(plain), "erk", compression=2, granularity="channel", input_shape=INPUT_SHAPE)


def test_a_pattern_gives_the_compression() -> None:
    net = nn.Linear(8, 4)
    assert sfb.prune(net, "magnitude", granularity="2:4") == prune(net, "2:4")
    assert sfb.prune(net, "magnitude", granularity="1:4").compression == 4


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        (
            {"granularity": "2:4", "compression": 10},
            UsageError,
            "2 of every 4 weights, which is compression 2, not 10",
        ),
        ({"granularity": "3:7"}, UsageError, "compression 2.33333333333, not 2"),
        ({"granularity": "4:2"}, HandledError, "'4:2' is no granularity"),
        ({"granularity": "0:4"}, HandledError, "'0:4' is no granularity"),
        ({"granularity": "row"}, HandledError, "known: weight, kernel, channel, fan-in"),
        ({"granularity": "channel"}, UsageError, "pass input_shape"),
        ({"granularity": "fan-in", "group_score": "l2"}, HandledError, "group_score has no effect"),
        ({"granularity": "kernel"}, ModelError, "no kernel has more than one weight"),
        ({"granularity": "2:3", "compression": 1.5}, ModelError, "no multiple of 3"),
        ({"granularity": "channel", "input_shape": 5}, HandledError, "input"),
    ],
    ids=str,
)
def test_what_cannot_be_is_one_line(arguments: dict[str, Any], kind: type[HandledError], words: str) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(kind, match=words) as caught:
        sfb.prune(net, "magnitude", **{"compression": 2, **arguments})
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_followed_has_no_channels() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.last(torch.fft.fft(self.first(x)).real)
            return logits

    with pytest.raises(
        ModelError, match="granularity 'channel' follows the graph of the network; Odd: cannot"
    ):
        prune(Odd(), "channel", input_shape=(4,))


def test_layers_that_no_pattern_divides_are_named() -> None:
    with pytest.warns(UserWarning, match="'2:4': layer 'conv1.weight' stays whole: .* no multiple of 4"):
        masks = sfb.prune(seeded(plain), "magnitude", granularity="2:4", input_shape=INPUT_SHAPE)
    assert masks.layer_density == {"conv1.weight": 1, "conv2.weight": 0.5, "classifier.weight": 0.5}


@pytest.mark.parametrize("layer", [nn.Linear(128, 64), nn.Conv2d(64, 32, 3)], ids=["linear", "convolution"])
def test_two_of_four_survives_torch_s_conversion_to_semi_structured_weights(layer: nn.Module) -> None:
    # The conversion itself runs on every device, only the kernels for its result do not.
    conversions = pytest.importorskip("torch.sparse._semi_structured_conversions")

    def converted(masks: Masks) -> bool:
        weight = layer.get_parameter("weight").detach() * masks["weight"]
        # A convolution reads its inputs last, position by position, as images with channels last do.
        matrix = weight.movedim(1, -1).flatten(1).half()
        kept, places = conversions.sparse_semi_structured_from_dense_cutlass(matrix)
        assert kept.numel() * 2 == matrix.numel()
        back: Tensor = conversions.sparse_semi_structured_to_dense_cutlass(kept, places)
        return torch.equal(back, matrix)

    assert converted(prune(layer, "2:4"))
    assert not converted(prune(layer, "weight"))


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch has tensors of 2:4 weights on CUDA devices only"
)
def test_two_of_four_converts_to_torch_s_semi_structured_tensors() -> None:
    from torch.sparse import to_sparse_semi_structured

    net = nn.Linear(128, 64, bias=False)
    sfb.prune(net, "magnitude", granularity="2:4").apply_(net)
    weight = net.weight.detach().half().cuda()
    assert torch.equal(to_sparse_semi_structured(weight).to_dense(), weight)
