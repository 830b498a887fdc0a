"""Scores that cannot be ranked name their layer; those that do not fit float32 are computed in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import synflow_bench as sfb
from synflow_bench.errors import PluginError, ScoreError
from synflow_bench.pruning import Masks, Problem, Pruned, Pruner, run_pruner
from synflow_bench.suites import PruningOptions

Pose = Callable[..., Problem]
Change = Callable[[dict[str, Tensor]], Mapping[str, Tensor]]


class Scripted(Pruner):
    """Scores |w|, changed by `change`."""

    needs_data: ClassVar[bool] = False
    change: ClassVar[Change] = staticmethod(dict)

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        return type(self).change({name: p.detach().abs() for name, p in problem.parameters.items()})


def scripted(change: Change) -> Pruner:
    return type("Scripted", (Scripted,), {"change": staticmethod(change)})()


class Flow(Pruner):
    """SynFlow's rule on a chain of linear layers, in the precision of the problem."""

    needs_data: ClassVar[bool] = False
    rounds: int = 3

    def score(self, problem: Problem) -> dict[str, Tensor]:
        weights = {name: p.detach().abs().requires_grad_() for name, p in problem.parameters.items()}
        flow = torch.ones(next(iter(weights.values())).shape[1], dtype=problem.dtype)
        for weight in weights.values():
            flow = weight @ flow
        gradients = torch.autograd.grad(flow.sum(), list(weights.values()))
        return {name: (w * g).detach() for (name, w), g in zip(weights.items(), gradients, strict=True)}


def chain(scale: float, depth: int = 4, width: int = 6) -> nn.Sequential:
    generator = torch.Generator().manual_seed(3)
    layers = [nn.Linear(width, width, bias=False) for _ in range(depth)]
    for layer in layers:
        layer.weight.data = scale * torch.randn(width, width, generator=generator)
    return nn.Sequential(*layers)


def prune_chain(pose: Pose, model: nn.Module, density: float) -> Pruned:
    return run_pruner(Flow(), pose(model, (6,), 6), density)


class Undefined(nn.Module):
    def __init__(self, place: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.norm = nn.Identity()
        self.place = place
        self.norm.register_forward_hook(lambda _module, _args, out: out / (0 if place == "in" else 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x))
        if self.place == "before":
            x = (x - x) / (x - x).norm()
        if self.place == "gradient":
            x = (x - x.detach()).abs().sqrt()
        logits: Tensor = self.last(x)
        return logits.sub(logits).log() * 0 if self.place == "end" else logits


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("in", r"begin in 'norm' \(Identity\); "),
        ("before", r"begin before 'last' \(Linear\); "),
        ("gradient", r"begin in the gradient behind '(first|norm)'"),
        ("end", "begin in Undefined; "),
    ],
)
def test_the_place_where_scores_begin_to_be_undefined_is_named(place: str, named: str) -> None:
    data = (torch.randn(6, 6), torch.arange(6) % 3)
    for pruner in ("synflow[rounds=3]", "snip", "grasp"):
        way_out = "may rank them" if "synflow" in pruner else "use other data"
        with pytest.raises(ScoreError, match=rf"not finite: .*{named}.*{way_out}"):
            sfb.prune(Undefined(place), pruner, compression=3, data=data)


def test_undefined_weights_and_inputs_are_named(net: nn.Module) -> None:
    data = (torch.full((6, 6), float("nan")), torch.arange(6) % 3)
    with pytest.raises(ScoreError, match="begin in the inputs; use other data"):
        sfb.prune(Undefined(""), "snip", compression=3, data=data)
    nn.init.constant_(net.get_parameter("2.weight"), float("inf"))
    with pytest.raises(ScoreError, match=r"the weights of layer '2\.weight' are not; load or train others"):
        sfb.prune(net, "magnitude", compression=3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_score_that_is_not_finite_names_the_layer(net: nn.Module, pose: Pose, bad: float) -> None:
    def change(scores: dict[str, Tensor]) -> dict[str, Tensor]:
        scores["2.weight"][1, 2] = bad
        return scores

    with pytest.raises(ScoreError, match=r"'2.weight' are not finite"):
        run_pruner(scripted(change), pose(net), 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, "0.weight": s["0.weight"].T}, r"'0.weight' have shape \(4, 5\)"),
        (lambda s: {"0.weight": s["0.weight"]}, "no scores .*'2.weight'"),
        (lambda s: {**s, "1.weight": torch.ones(1)}, "'1.weight'"),
        (lambda s: {name: torch.ones_like(score) for name, score in s.items()}, "'0.weight' are all 1"),
        (lambda s: {name: torch.zeros_like(score) for name, score in s.items()}, "all scores are 0"),
        (lambda s: {**s, "0.weight": s["0.weight"].long()}, r"'0.weight' are torch.int64"),
        (lambda s: {**s, "0.weight": s["0.weight"].to("meta")}, "'0.weight' are on meta"),
    ],
    ids=["shape", "missing", "extra", "constant", "zero", "integer", "device"],
)
def test_scores_that_rank_nothing_are_an_error(
    net: nn.Module, pose: Pose, change: Change, message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        run_pruner(scripted(change), pose(net), 0.5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_layer_whose_scores_are_equal_is_ranked_by_index_with_a_warning(
    net: nn.Module, pose: Pose, value: float
) -> None:
    def change(scores: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**scores, "2.weight": torch.full((3, 5), value)}

    pruned = run_pruner(scripted(change), pose(net), 0.8)
    assert pruned.masks.kept == 28
    assert pruned.masks.layer_kept["2.weight"] == (8 if value == 0 else 15)
    first, *_, last = pruned.warnings
    assert f"'2.weight' are all {value:g}" in first
    assert f"{pruned.masks.layer_kept['2.weight']} of 28 weights are kept by index" in last


def test_good_scores_give_no_warning(net: nn.Module, pose: Pose) -> None:
    assert run_pruner(scripted(dict), pose(net), 0.5).warnings == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_in_half_precision_are_scored_in_float32(
    net: nn.Module, pose: Pose, dtype: torch.dtype
) -> None:
    inputs, seen = torch.randn(6, 4, generator=torch.Generator().manual_seed(1)).to(dtype), []

    class Looks(Pruner):
        def score(self, problem: Problem) -> dict[str, Tensor]:
            batch, _ = next(problem.batches())
            seen.append((problem.dtype, batch.dtype, problem.model(batch).dtype))
            return {name: p.detach().abs() for name, p in problem.parameters.items()}

    half = net.to(dtype)
    labels = torch.zeros(6, dtype=torch.long)
    found = run_pruner(Looks(), pose(half, examples=(inputs, labels)), 0.5)
    assert seen == [(torch.float32,) * 3]
    assert {p.dtype for p in half.parameters()} == {dtype}
    assert (
        found.masks == run_pruner(Looks(), pose(half.float(), examples=(inputs.float(), labels)), 0.5).masks
    )


def test_constant_weights_may_have_constant_scores(net: nn.Sequential, pose: Pose) -> None:
    nn.init.zeros_(net[0].bias)
    problem = pose(net, options=PruningOptions(prune_bias=True))
    assert run_pruner(scripted(dict), problem, 0.5).masks.kept == round(0.5 * problem.masks.size)


def test_a_network_that_has_collapsed_may_have_constant_scores_in_later_rounds(
    net: nn.Module, pose: Pose
) -> None:
    class Collapsing(Scripted):
        rounds: int = 2

        def score(self, problem: Problem) -> Mapping[str, Tensor]:
            scores = super().score(problem)
            return scores if problem.round == 1 else {n: torch.zeros_like(s) for n, s in scores.items()}

    assert run_pruner(Collapsing(), pose(net), 0.25).masks.kept == round(0.25 * 35)


def test_float32_stays_where_it_is_enough(pose: Pose) -> None:
    assert prune_chain(pose, chain(1.0), 0.1).score_dtype == "float32"


@pytest.mark.parametrize("scale", [1e10, 1e-11, 1e-12], ids=["overflow", "subnormal", "zero"])
@pytest.mark.parametrize("density", [0.5, 0.05])
def test_where_float32_fails_masks_are_those_of_float64(pose: Pose, scale: float, density: float) -> None:
    pruned = prune_chain(pose, chain(scale), density)
    throughout = prune_chain(pose, chain(scale).double(), density)
    assert pruned.score_dtype == throughout.score_dtype == "float64"
    assert pruned.masks == throughout.masks
    assert pruned.masks == prune_chain(pose, chain(1.0).double(), density).masks, "a scale changes no ranking"


def test_float32_may_fail_in_a_later_round(net: nn.Module, pose: Pose) -> None:
    seen = []

    class Late(Scripted):
        rounds: int = 4

        def score(self, problem: Problem) -> Mapping[str, Tensor]:
            seen.append((problem.round, problem.dtype))
            huge = 1e30 if problem.round >= 3 else 1.0
            return {n: (huge * p.detach().abs()).square() for n, p in problem.parameters.items()}

    pruned = run_pruner(Late(), pose(net), 0.2)
    narrow, wide = torch.float32, torch.float64
    assert seen == [(1, narrow), (2, narrow), (3, narrow), (3, wide), (4, wide)]
    assert pruned.score_dtype == "float64"
    assert pruned.masks == run_pruner(scripted(dict), pose(net), 0.2).masks


def test_underflow_among_what_is_removed_does_no_harm(net: nn.Module, pose: Pose) -> None:
    def change(scores: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: score.where(score > 0.3, 1e-42) for name, score in scores.items()}

    assert run_pruner(scripted(change), pose(net), 0.2).score_dtype == "float32"
    assert run_pruner(scripted(change), pose(net), 0.9).score_dtype == "float64"


def test_many_kept_zeros_are_no_error_where_the_pruner_knows_only_float32(net: nn.Module, pose: Pose) -> None:
    def change(scores: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: (score > 0.4).float() for name, score in scores.items()}

    pruned = run_pruner(scripted(change), pose(net), 0.8)
    assert pruned.masks.kept == round(0.8 * 35)


def test_what_overflows_in_float64_too_is_an_error(net: nn.Module, pose: Pose) -> None:
    with pytest.raises(ScoreError, match=r"'0.weight' are not finite"):
        run_pruner(scripted(lambda scores: {n: s * 1e308 * 1e308 for n, s in scores.items()}), pose(net), 0.5)


def test_double_precision_sees_the_same_network_buffers_and_data(pose: Pose) -> None:
    net = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))
    net[1].running_mean.normal_(generator=torch.Generator().manual_seed(0))
    inputs = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    outputs = {}

    class Looks(Pruner):
        def score(self, problem: Problem) -> dict[str, Tensor]:
            batch, _ = next(problem.batches())
            outputs[problem.dtype] = problem.model(batch).detach()
            assert int(problem.model[1].num_batches_tracked) == 0
            factor = 1e30 if problem.dtype is torch.float32 else 1.0
            return {n: (factor * p.detach()).square() for n, p in problem.parameters.items()}

    run_pruner(Looks(), pose(net, examples=(inputs, torch.zeros(6, dtype=torch.long))), 0.5)
    assert outputs[torch.float64].dtype is torch.float64
    assert torch.allclose(outputs[torch.float64], outputs[torch.float32].double(), atol=1e-6)
    assert torch.allclose(outputs[torch.float32], net.eval()(inputs).detach())


@pytest.mark.parametrize("extra", [-1, 1])
def test_a_prune_that_keeps_the_wrong_number_is_an_error(net: nn.Module, pose: Pose, extra: int) -> None:
    class Careless(Pruner):
        def prune(self, problem: Problem, density: float) -> Masks:
            row = torch.arange(35) < round(35 * density) + extra
            return Masks({"0.weight": row[:20].view(5, 4), "2.weight": row[20:].view(3, 5)})

    with pytest.raises(PluginError, match=rf"Careless kept {14 + extra} of 35 weights .* 14;"):
        run_pruner(Careless(), pose(net), 0.4)


def test_a_prune_that_forgets_a_layer_is_an_error(net: nn.Module, pose: Pose) -> None:
    class Forgetful(Pruner):
        def prune(self, problem: Problem, density: float) -> Masks:
            return Masks({"0.weight": torch.ones(5, 4, dtype=torch.bool)})

    with pytest.raises(PluginError, match=r"no mask .*'2.weight'"):
        run_pruner(Forgetful(), pose(net), 0.5)
