"""SynFlow ranks |w dR/dw|, as its paper's code does, on every kind of layer; compared with plain autograd."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_leaves

import synflow_bench as sfb
from synflow_bench.errors import ScoreError
from synflow_bench.pruning import Masks, Problem, run_pruner
from synflow_bench.suites import Biases, PruningOptions
from synflow_bench_pruners.synflow import SynFlow, SynFlowL2

Pose = Callable[..., Problem]
ROUNDS, DENSITY = 15, 0.1


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


class Standardized(nn.Conv2d):
    """A convolution whose kernels have mean 0 and variance 1."""

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        weight = (self.weight - mean) / (self.weight.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Directed(nn.Conv2d):
    """A convolution whose kernels have norm 1."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight / (self.weight.square().sum((1, 2, 3), keepdim=True) + 1e-12).sqrt()
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.branch(x))


class SqueezeExcitation(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(channels, 4), nn.Linear(4, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))) / 40)
        return x * gate[:, :, None, None]


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.value, self.gate = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x) * torch.tanh(0.05 * self.gate(x))


class Tokens(nn.Module):
    """Rows of an image as tokens of a transformer or a recurrent network."""

    def __init__(self, mixer: nn.Module, width: int) -> None:
        super().__init__()
        self.embed, self.mixer, self.head = nn.Linear(24, 16), mixer, nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        out = self.mixer(self.embed(x.transpose(1, 2).flatten(2)))
        hidden = out[0] if isinstance(out, tuple) else out
        logits: Tensor = self.head(hidden.mean(1))
        return logits


class PerHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.attention(x, x * torch.linspace(0.1, 1, x.shape[1], dtype=x.dtype)[:, None], x)[
            0
        ]
        return mixed


def image(*layers: nn.Module, channels: int = 12) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        *layers,
        nn.Flatten(),
        nn.Linear(channels * 64, 20),
        nn.ReLU(),
        nn.Linear(20, 5),
    )


def conv() -> nn.Module:
    return nn.Conv2d(12, 12, 3, padding=1)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "layer norm": lambda: image(
        nn.LayerNorm([12, 8, 8]), nn.ReLU(), conv(), nn.LayerNorm([12, 8, 8]), nn.ReLU()
    ),
    "group norm": lambda: image(nn.GroupNorm(3, 12), nn.ReLU(), conv(), nn.GroupNorm(1, 12), nn.ReLU()),
    "instance norm": lambda: image(nn.InstanceNorm2d(12, affine=True), nn.ReLU(), conv(), nn.ReLU()),
    "rms norm": lambda: image(nn.RMSNorm([8, 8]), nn.SiLU(), conv(), nn.RMSNorm([12, 8, 8])),
    "weight standardization": lambda: image(nn.ReLU(), Standardized(12, 12, 3, padding=1), nn.ReLU()),
    "weight norm": lambda: image(nn.ReLU(), Directed(12, 12, 3, padding=1), nn.ReLU()),
    "response norm": lambda: image(nn.LocalResponseNorm(3), conv(), nn.ReLU()),
    "attention": lambda: Tokens(PerHead(), 16),
    "transformer": lambda: Tokens(nn.TransformerEncoderLayer(16, 2, 32, batch_first=True), 16),
    "transformer, norm first": lambda: Tokens(
        nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True, activation="gelu"), 16
    ),
    "lstm": lambda: Tokens(nn.LSTM(16, 12, batch_first=True), 12),
    "gru": lambda: Tokens(nn.GRU(16, 12, batch_first=True, bidirectional=True), 24),
    "gates": lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 24), Gated(24), nn.ReLU(), nn.Linear(24, 5)),
    "glu": lambda: nn.Sequential(
        nn.Flatten(),
        nn.Linear(192, 32),
        nn.LayerNorm(32),
        nn.GLU(),
        nn.Linear(16, 16),
        nn.GLU(),
        nn.Linear(8, 5),
    ),
    "squeeze-excitation": lambda: image(SqueezeExcitation(12), nn.ReLU(), conv()),
    "log-softmax": lambda: nn.Sequential(image(nn.ReLU()), nn.LogSoftmax(1)),
    "softmax inside": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(192, 20), nn.LayerNorm(20), nn.Linear(20, 20), nn.Softmax(1), nn.Linear(20, 5)
    ),
    "residual": lambda: image(Residual(conv(), nn.BatchNorm2d(12), nn.ReLU(), conv(), nn.GroupNorm(3, 12))),
    "depthwise": lambda: image(nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.ReLU(), nn.Conv2d(12, 12, 1)),
    "transposed": lambda: image(nn.MaxPool2d(2), nn.ConvTranspose2d(12, 12, 2, 2), nn.LayerNorm([12, 8, 8])),
    "gelu": lambda: image(nn.GELU(), conv(), nn.GELU()),
    "silu": lambda: image(nn.SiLU(), conv(), nn.SiLU()),
    "elu and mish": lambda: image(nn.ELU(), conv(), nn.Mish()),
    "batch norm": lambda: image(nn.BatchNorm2d(12), nn.ReLU(), conv(), nn.BatchNorm2d(12), nn.ReLU()),
}


def reference(model: nn.Module, names: list[str], power: int, biases: Biases) -> dict[str, Tensor]:
    """The masks of plain rounds in float64: |v dR/dv| with v = |w| or w^2, and the largest of them kept."""
    model = deepcopy(model).double().eval()
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in state.items():
        if tensor.is_floating_point():
            bias = name.rpartition(".")[2]
            unpruned = name not in names and (bias.startswith("bias") or bias.endswith("_bias"))
            zero = unpruned and biases == "zero"
            tensor.data = torch.zeros_like(tensor) if zero else tensor.data.abs() ** power
    weights = {name: state[name] for name in names}
    values = {name: weight.detach().clone() for name, weight in weights.items()}
    masks = {name: torch.ones_like(value) for name, value in values.items()}
    size = sum(value.numel() for value in values.values())
    for t in range(1, ROUNDS + 1):
        for name, weight in weights.items():
            weight.data = (values[name] * masks[name]).requires_grad_()
        outputs = model(torch.ones(1, 3, 8, 8, dtype=torch.float64))
        total = sum(leaf.sum() for leaf in tree_leaves(outputs))
        gradients = torch.autograd.grad(total, list(weights.values()))
        scores = [(w * g).abs().detach() for w, g in zip(weights.values(), gradients, strict=True)]
        row = torch.cat([score.flatten() for score in scores])
        keep = torch.zeros_like(row)
        # Removed weights score 0 too, but must not return.
        alive = torch.cat([mask.flatten() for mask in masks.values()])
        order = (row + alive * 1e-300 + (alive - 1)).argsort(descending=True, stable=True)
        keep[order[: round(size * DENSITY ** (t / ROUNDS))]] = 1
        parts = keep.split([score.numel() for score in scores])  # type: ignore[no-untyped-call]
        masks = {n: part.view(values[n].shape) for n, part in zip(names, parts, strict=True)}
    return {name: mask.bool() for name, mask in masks.items()}


@pytest.mark.parametrize(
    ("pruner", "biases"),
    [(SynFlow(rounds=ROUNDS), "keep"), (SynFlowL2(rounds=ROUNDS), "zero")],
    ids=["abs", "squares"],
)
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_kept_weights_are_those_of_plain_autograd_in_float64(
    pose: Pose, kind: str, pruner: SynFlow, biases: Biases
) -> None:
    model = seeded(NETWORKS[kind])
    problem = pose(model, (3, 8, 8), num_classes=5, options=PruningOptions(biases=biases))
    found = run_pruner(pruner, problem, DENSITY).masks
    expected = reference(model, list(problem.parameters), 2 if isinstance(pruner, SynFlowL2) else 1, biases)
    common = sum(int((found[name] & expected[name]).sum()) for name in expected)
    assert found.kept == sum(int(mask.sum()) for mask in expected.values())
    assert common >= 0.99 * found.kept


def kept(masks: Masks) -> tuple[int, ...]:
    return tuple(masks.layer_kept.values())


def test_a_final_log_softmax_empties_no_layer() -> None:
    net = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10), nn.LogSoftmax(1)),
        )
    )
    masks = sfb.prune(net, "synflow", compression=10, input_shape=(1, 28, 28))
    assert kept(masks) == (287, 14805, 104256, 617)


def normalized() -> nn.Module:
    hidden = [nn.Linear(8, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 32), nn.LayerNorm(32), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(32, 5))


def test_layer_norms_let_negative_flows_count() -> None:
    masks = sfb.prune(seeded(normalized), "synflow", compression=4, input_shape=(8,))
    assert kept(masks) == (67, 249, 44)


def test_flows_that_cancel_are_computed_in_float64(pose: Pose) -> None:
    pruned = run_pruner(SynFlow(rounds=5), pose(seeded(normalized), (8,)), 0.25)
    assert pruned.score_dtype == "float64"
    assert pruned.masks == run_pruner(SynFlow(rounds=5), pose(seeded(normalized).double(), (8,)), 0.25).masks


def closed(last: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 10), last)


@pytest.mark.parametrize("name", ["synflow", "synflow-l2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "last",
    [nn.LayerNorm(10), nn.GroupNorm(1, 10), nn.GroupNorm(2, 10), nn.Softmax(1)],
    ids=lambda last: type(last).__name__,
)
def test_outputs_of_constant_sum_rank_nothing(
    last: nn.Module, seed: int, dtype: torch.dtype, name: str
) -> None:
    """All derivatives are zero in exact arithmetic: what float64 leaves of them must not be ranked."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = closed(last).to(dtype)
    with pytest.raises(ScoreError, match=rf"'3' \({type(last).__name__}\)"):
        sfb.prune(net, name, compression=4, input_shape=(20,))


def test_layers_of_which_only_rounding_noise_is_known_come_last() -> None:
    """An instance norm before global pooling hides everything before it; the classifier has scores."""
    norm, pool = nn.InstanceNorm2d(8, affine=True), nn.AdaptiveAvgPool2d(1)
    net = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm, pool, nn.Flatten(), nn.Linear(8, 40))
    )
    nn.init.ones_(norm.bias)
    with pytest.warns(UserWarning, match=r"'0.weight'.*'1' \(InstanceNorm2d\)"):
        masks = sfb.prune(net, "synflow[rounds=5]", compression=2, input_shape=(3, 8, 8))
    assert kept(masks) == (0, 268) or masks.layer_kept["4.weight"] == 268


@pytest.mark.parametrize("name", ["synflow", "synflow-l2"])
@pytest.mark.parametrize("activation", [nn.ReLU6(), nn.Hardtanh(0, 1)], ids=["relu6", "hardtanh"])
def test_saturated_networks_are_ranked_where_they_are_linear(activation: nn.Module, name: str) -> None:
    def build(between: nn.Module) -> nn.Module:
        layers = [
            nn.Conv2d(3, 64, 3),
            between,
            nn.Conv2d(64, 64, 3),
            between,
            nn.Flatten(),
            nn.Linear(1024, 5),
        ]
        return seeded(lambda: nn.Sequential(*layers))

    torch.manual_seed(0)
    net = build(activation)
    for parameter in net.parameters():
        parameter.data *= 30
    plain = deepcopy(net)
    plain[1] = plain[3] = nn.ReLU()
    with pytest.warns(UserWarning, match="saturated by the ones input"):
        found = sfb.prune(net, f"{name}[rounds=5]", compression=10, input_shape=(3, 8, 8))
    assert found == sfb.prune(plain.double(), f"{name}[rounds=5]", compression=10, input_shape=(3, 8, 8))


def test_a_saturated_gate_is_named_and_comes_last() -> None:
    class Gate(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up, self.sigmoid = nn.Linear(6, 4), nn.Linear(4, 6), nn.Sigmoid()

        def forward(self, x: Tensor) -> Tensor:
            return x * self.sigmoid(1e4 * self.up(self.down(x)))

    net = seeded(lambda: nn.Sequential(nn.Linear(6, 6), Gate(), nn.Linear(6, 3)))
    with pytest.warns(UserWarning, match=r"'1.down.weight' and '1.up.weight'.*'1.sigmoid' \(Sigmoid\)"):
        masks = sfb.prune(net, "synflow", compression=4, input_shape=(6,))
    assert (masks.layer_kept["1.down.weight"], masks.layer_kept["1.up.weight"]) == (0, 0)


class Ids(nn.Module):
    def __init__(self, mixer: nn.Module, width: int) -> None:
        super().__init__()
        self.embed, self.mixer, self.head = nn.Embedding(50, 16), mixer, nn.Linear(width, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.after(self.embed(ids))

    def after(self, embedded: Tensor) -> Tensor:
        out = self.mixer(embedded)
        logits: Tensor = self.head((out[0] if isinstance(out, tuple) else out).mean(1))
        return logits


def mixers() -> dict[str, tuple[nn.Module, int]]:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    return {
        "transformer": (nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), 16),
        "lstm": (nn.LSTM(16, 12, batch_first=True), 12),
        "gru": (nn.GRU(16, 12, batch_first=True, num_layers=2), 12),
    }


@pytest.mark.parametrize("name", ["synflow[rounds=5]", "synflow-l2[rounds=5]"])
@pytest.mark.parametrize("kind", mixers())
def test_token_ids_become_ones_behind_the_embedding(kind: str, name: str) -> None:
    class After(nn.Module):
        def __init__(self, ids: Ids) -> None:
            super().__init__()
            self.mixer, self.head, self.ids = ids.mixer, ids.head, [ids]

        def forward(self, embedded: Tensor) -> Tensor:
            return Ids.after(self, embedded)  # type: ignore[arg-type]

    net = seeded(lambda: Ids(*mixers()[kind]))
    ids = torch.randint(50, (1, 7), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not pruned")  # the embedding
        found = sfb.prune(net, name, compression=4, example_inputs=ids)
        other = sfb.prune(net, name, compression=4, example_inputs=(ids + 1) % 50)
    expected = sfb.prune(After(net), name, compression=4, input_shape=(7, 16))  # type: ignore[arg-type]
    assert dict(found.layer_kept) == dict(expected.layer_kept)
    assert found == expected == other


@pytest.mark.parametrize("kind", mixers())
def test_ntk_sap_draws_noise_behind_the_embedding(kind: str) -> None:
    net, ids = seeded(lambda: Ids(*mixers()[kind])), torch.arange(14).view(2, 7)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not pruned")
        found, other = (
            sfb.prune(net, "ntk-sap[rounds=2,repeats=1]", compression=4, example_inputs=each)
            for each in (ids, ids + 20)
        )
    assert found == other


def test_an_embedding_that_is_pruned_carries_the_flow() -> None:
    net, ids = seeded(lambda: Ids(*mixers()["transformer"])), torch.arange(7)[None]
    options = sfb.PruningOptions(prune_embedding=True)
    masks = sfb.prune(net, "synflow[rounds=3]", compression=4, example_inputs=ids, options=options)
    assert 0 < masks.layer_kept["embed.weight"] < 800
