"""Networks that ask for a lower precision than that of their scores compute in the scores' own."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import synflow_bench as sfb
from synflow_bench.errors import ScoreError
from synflow_bench.pruning import Problem, run_pruner
from synflow_bench.pruning.network_state import compute_in
from synflow_bench_pruners.synflow import SynFlow


class Network(nn.Module):
    """Tokens of six numbers; `low` makes it ask for the precisions that a test is about."""

    def __init__(self, low: bool) -> None:
        super().__init__()
        self.low = low
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.head, self.mixer = nn.Linear(6, 8), nn.Linear(8, 3), self.mix()

    def mix(self) -> nn.Module:
        return nn.Identity()


class MakesAState(Network):
    def mix(self) -> nn.Module:
        return nn.GRU(8, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.zeros(1, len(x), 8) if self.low else x.new_zeros(1, len(x), 8)
        found: Tensor = self.head(self.mixer(self.first(x), hidden)[0].mean(1))
        return found


class NormalizesInFloat(Network):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        normal = F.layer_norm(hidden.float() if self.low else hidden, (8,))
        found: Tensor = self.head(torch.tanh(normal + torch.linspace(0, 1, 8).to(x)).mean(1))
        return found


class NamesTypes(Network):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x.to(torch.float32)) if self.low else self.first(x)
        scores = hidden @ hidden.mT
        shares = torch.softmax(scores, -1, dtype=torch.float32) if self.low else scores.softmax(-1)
        mixed = torch.tanh(shares @ hidden).type(torch.float32 if self.low else x.dtype)
        found: Tensor = self.head(mixed.mean(1) + (torch.ones(8, dtype=torch.float32) if self.low else 1))
        return found


@pytest.mark.filterwarnings("ignore:npb draws the mask of layers 'mixer")
@pytest.mark.parametrize("pruner", ["synflow[rounds=5]", "synflow-l2[rounds=5]", "npb", "snip"])
@pytest.mark.parametrize("kind", [MakesAState, NormalizesInFloat, NamesTypes])
def test_masks_are_those_of_the_network_that_asks_for_nothing(kind: type[Network], pruner: str) -> None:
    data = torch.randn(9, 5, 6, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    found, expected = (
        sfb.prune(kind(low), pruner, compression=3, input_shape=(5, 6), data=data) for low in (True, False)
    )
    assert found == expected


def test_a_constant_sum_is_noticed_behind_a_norm_in_float32() -> None:
    class Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.layer_norm(x.float(), (10,))

    net = nn.Sequential(nn.Linear(20, 50), nn.ReLU(), nn.Linear(50, 10), Last())
    with pytest.raises(ScoreError, match="rank nothing"):
        sfb.prune(net, "synflow", compression=4, input_shape=(20,))


def test_a_half_network_that_names_its_type_is_scored_in_float32() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.last(torch.relu(self.first(x.bfloat16())).float().to(torch.bfloat16))
            return found

    net = Half().bfloat16()
    plain = nn.Sequential(deepcopy(net.first), nn.ReLU(), deepcopy(net.last)).float()
    found = sfb.prune(net, "synflow", compression=4, input_shape=(6,))
    expected = sfb.prune(plain, "synflow", compression=4, input_shape=(6,))
    assert [found[name].tolist() for name in ("first.weight", "last.weight")] == [
        expected[name].tolist() for name in ("0.weight", "2.weight")
    ]


def made_by(make: Callable[[Tensor], Tensor]) -> Tensor:
    class Making(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return make(x)

    net = Making()
    compute_in(net, torch.float64)
    found: Tensor = deepcopy(net)(torch.ones(2, dtype=torch.float64).div_(3).requires_grad_())
    return found


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x.float(),
        lambda x: x.half(),
        lambda x: x.to(torch.float32),
        lambda x: x.to("cpu", torch.bfloat16),
        lambda x: x.type(torch.float32),
        lambda x: x.sum(0, dtype=torch.float32),
        lambda x: F.softmax(x, 0, dtype=torch.float32) * x,
    ],
)
def test_no_digit_and_no_gradient_is_lost(make: Callable[[Tensor], Tensor]) -> None:
    found = made_by(make)
    assert (found.dtype, found.requires_grad) == (torch.float64, True)
    assert not torch.equal(found, found.float().double()) or float(found.flatten()[0]) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda _: torch.zeros(2),
        lambda _: torch.tensor([1.0, 2.0]),
        lambda _: torch.arange(2).float(),
        lambda x: torch.zeros_like(x, dtype=torch.float32),
    ],
)
def test_tensors_that_a_network_makes_are_in_its_precision(make: Callable[[Tensor], Tensor]) -> None:
    assert made_by(make).dtype is torch.float64


def test_an_operation_without_float64_is_computed_in_float32() -> None:
    class Experts(nn.Module):
        """Two experts for half of the features each, by a product that torch has in float32 at most."""

        def __init__(self) -> None:
            super().__init__()
            self.weights, self.head = nn.Parameter(torch.rand(2, 16, 16)), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(0, 1)
            ends = torch.tensor([len(tokens) // 2, len(tokens)], dtype=torch.int32)
            mixed = torch._grouped_mm(tokens, self.weights, offs=ends)
            found: Tensor = self.head(torch.tanh(mixed)).unflatten(0, x.shape[:2]).mean(1)
            return found

    masks = sfb.prune(
        Experts(), "synflow[rounds=3]", compression=4, input_shape=(8, 16), only=["weights", "head.weight"]
    )
    assert masks.kept == 140
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        made_by(lambda x: x[None] @ x[None].double())


def test_integers_and_truth_values_stay() -> None:
    assert made_by(lambda x: x > 0).dtype is torch.bool
    assert made_by(lambda x: (x > 0).long()).dtype is torch.int64


def test_a_problem_in_float64_leaves_nothing_on_torch(pose: Callable[..., Problem]) -> None:
    class Stopping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            raise KeyboardInterrupt

    problem = pose(Stopping(), (2,)).in_double()
    with pytest.raises(KeyboardInterrupt):
        problem.model(problem.forward_inputs())
    assert torch.zeros(1).dtype is torch.float32


def test_after_a_pruning_the_network_has_its_own_forward_pass(pose: Callable[..., Problem]) -> None:
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3), nn.Sigmoid())
    problem = pose(net, (6,))
    assert run_pruner(SynFlow(rounds=2), problem, 0.5).score_dtype == "float64"
    assert "forward" not in vars(problem.model)
