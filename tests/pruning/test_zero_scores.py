"""Networks with scores of zero get masks, and warnings that name the cause; nothing to rank is an error."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.errors import ScoreError
from synflow_bench.pruning import Masks

DATA = torch.randn(9, 6, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3


def prune(model: nn.Module, pruner: str) -> tuple[Masks, str]:
    """Return the masks at compression 4, and all warnings in a text."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masks = sfb.prune(model, pruner, compression=4, input_shape=(6,), data=DATA)
    return masks, "\n".join(str(warning.message) for warning in caught)


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


class ZeroHead(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        nn.init.zeros_(self[2].weight)
        nn.init.zeros_(self[2].bias)


class Branch(nn.Module):
    """A branch behind a factor, or weights, of zero."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.stem, self.down, self.up = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(2, 8)
        self.norm, self.head = nn.BatchNorm1d(8), nn.Linear(8, 3)
        self.gain = nn.Parameter(torch.ones(1, 8) if kind == "gains" else torch.ones(1))
        zero = {"lora": self.up.weight, "residual": self.norm.weight}.get(kind, self.gain)
        nn.init.zeros_(zero)
        if kind == "lora":
            nn.init.zeros_(self.up.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.stem(x)
        logits: Tensor = self.head(hidden + self.gain * self.norm(self.up(self.down(hidden))))
        return logits


class Auxiliary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head, self.aux = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        hidden = self.stem(x).relu()
        return (self.head(hidden), self.aux(hidden)) if self.training else self.head(hidden)


@pytest.mark.parametrize("pruner", ["synflow", "synflow-l2", "snip", "iter-snip"])
def test_a_zero_head_is_scored_with_random_weights(pruner: str) -> None:
    masks, warned = prune(seeded(ZeroHead), pruner)
    assert min(masks.layer_kept.values()) > 0
    assert "'2.weight'" in warned
    assert "zero-initialized" in warned


@pytest.mark.parametrize("pruner", ["synflow", "synflow-l2", "snip", "force"])
@pytest.mark.parametrize(
    ("kind", "named"),
    [("lora", "up.weight"), ("residual", "norm.weight"), ("gain", "gain"), ("gains", "gain")],
)
def test_what_is_behind_zeros_comes_last_and_the_zeros_are_named(kind: str, named: str, pruner: str) -> None:
    masks, warned = prune(seeded(lambda: Branch(kind)), pruner)
    assert masks.layer_kept["down.weight"] == masks.layer_kept["up.weight"] == 0
    assert f"zero-initialized weights ('{named}')" in warned
    assert "'down.weight'" in warned


@pytest.mark.parametrize("pruner", ["synflow", "snip", "grasp", "grasp-abs", "ntk-sap", "prospr"])
def test_what_is_not_used_in_this_mode_is_named(pruner: str) -> None:
    masks, warned = prune(seeded(Auxiliary), pruner)
    assert masks.kept == 24
    assert "'aux.weight' are all 0" in warned
    assert "unused in this mode" in warned


def test_ones_behind_tokens_that_a_norm_makes_zeros_of_are_named() -> None:
    layers = (nn.Embedding(9, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.ReLU(), nn.Flatten(), nn.Linear(30, 3))
    net = nn.Sequential(*layers)
    nn.init.zeros_(net[2].bias)
    with (
        pytest.warns(UserWarning, match=r"not pruned: '0\.weight'"),
        pytest.raises(ScoreError, match=r"ones at the output of the token.* norm makes zeros.*with data"),
    ):
        sfb.prune(net, "synflow", compression=4, example_inputs=torch.arange(5)[None])


def test_dead_activations_are_an_error_that_names_them() -> None:
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    nn.init.constant_(net[0].bias, -100.0)
    with pytest.raises(ScoreError, match=r"all scores are 0.*'1' \(ReLU\)"):
        prune(net, "snip")


@pytest.mark.parametrize("pruner", ["magnitude", "snip", "synflow", "random"])
def test_networks_without_zeros_get_no_warning(pruner: str) -> None:
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)))
    assert prune(net, pruner)[1] == ""


def test_zeros_are_kept_only_where_nothing_else_is_left() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        masks = sfb.prune(seeded(Auxiliary), "snip", compression=1.1, input_shape=(6,), data=DATA)
    assert masks.layer_kept["stem.weight"] == 48
    assert masks.layer_kept["head.weight"] == 24
    assert any("15 of 87 weights are kept by index" in str(warning.message) for warning in caught)


def test_batch_norm_without_running_statistics_is_no_saturation() -> None:
    norm = nn.BatchNorm1d(8, track_running_stats=False)
    nn.init.constant_(norm.bias, 0.5)
    layers = nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 8, 1), norm, nn.AdaptiveAvgPool1d(1), nn.Flatten()
    masks, warned = prune(seeded(lambda: nn.Sequential(*layers, nn.Linear(8, 3))), "synflow")
    assert masks.layer_kept["1.weight"] == 0
    assert "'2' (BatchNorm1d), whose outputs have a constant sum" in warned
    assert "saturated" not in warned
