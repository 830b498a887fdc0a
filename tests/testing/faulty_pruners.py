"""One or more pruners per rule, each of which breaks that rule and no other, and two sound ones."""

from __future__ import annotations

import gc
import os
import random
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.pruning import select

Scores = Mapping[str, Tensor]


class Sound(Pruner):
    """|w g| with nothing wrong."""

    def score(self, problem: Problem) -> Scores:
        for inputs, labels in problem.batches():
            problem.loss(problem.model(inputs), labels).backward()
        return {name: (p * p.grad).detach().abs() for name, p in problem.parameters.items()}


class WithoutData(Pruner):
    """|w|, without data."""

    needs_data: ClassVar[bool] = False

    def score(self, problem: Problem) -> Scores:
        return {name: p.detach().abs() for name, p in problem.parameters.items()}


class RevisedToNothing(WithoutData):
    revision: ClassVar[int] = 0


class LooksAtData(WithoutData):
    def score(self, problem: Problem) -> Scores:
        next(problem.batches())
        return super().score(problem)


class ForgetsALayer(WithoutData):
    def score(self, problem: Problem) -> Scores:
        return dict(list(super().score(problem).items())[1:])


class ScoresUnits(WithoutData):
    def score(self, problem: Problem) -> Scores:
        return {name: score.flatten(1).sum(1) for name, score in super().score(problem).items()}


class NotANumber(WithoutData):
    def score(self, problem: Problem) -> Scores:
        return {name: score.log().sqrt() for name, score in super().score(problem).items()}


class AllEqual(WithoutData):
    def score(self, problem: Problem) -> Scores:
        return {name: torch.ones_like(score) for name, score in super().score(problem).items()}


class KeepsOneMore(WithoutData):
    def prune(self, problem: Problem, density: float) -> Masks:
        masks = super().prune(problem, density)
        with torch.no_grad():
            for mask in masks.values():
                if not bool(mask.all()):
                    mask.view(-1)[int(mask.view(-1).int().argmin())] = True
                    break
        return Masks(dict(masks))


class RanksByItself(WithoutData):
    def prune(self, problem: Problem, density: float) -> Masks:
        return select(self.score(problem), problem.masks, density, problem.options.scope).masks


class Moody(WithoutData):
    def score(self, problem: Problem) -> Scores:
        own = torch.Generator()
        own.seed()
        return {name: torch.rand(p.shape, generator=own) for name, p in problem.parameters.items()}


class KeepsDenseMasked(WithoutData):
    def score(self, problem: Problem) -> Scores:
        scores = super().score(problem)
        for tensor in problem.dense.values():
            tensor.mul_(2)
        return scores


def layers_of_others(problem: Problem) -> Iterator[nn.Module]:
    """Batch norm layers of other networks in memory, which a careless cache could hold."""
    own = set(problem.model.modules())
    if not any(type(module) is nn.BatchNorm1d for module in own):
        return  # a look through memory takes long
    for thing in gc.get_objects():
        if type(thing) in (nn.BatchNorm1d, nn.BatchNorm2d) and thing not in own:
            yield thing


class ResetsStatistics(WithoutData):
    def score(self, problem: Problem) -> Scores:
        for norm in layers_of_others(problem):
            norm.reset_running_stats()
        return super().score(problem)


class DropsGradients(WithoutData):
    def score(self, problem: Problem) -> Scores:
        for norm in layers_of_others(problem):
            norm.zero_grad()
        return super().score(problem)


class SetsModes(WithoutData):
    def score(self, problem: Problem) -> Scores:
        for norm in layers_of_others(problem):
            norm.train(not norm.training)
        return super().score(problem)


class LeavesAHook(WithoutData):
    def score(self, problem: Problem) -> Scores:
        for module in problem.model.modules():
            module.register_forward_hook(lambda *_: None)
        return super().score(problem)


class ReplacesForward(WithoutData):
    def score(self, problem: Problem) -> Scores:
        for module in problem.model.modules():
            module.forward = module.forward
        return super().score(problem)


class HooksEverything(WithoutData):
    def score(self, problem: Problem) -> Scores:
        nn.modules.module.register_module_forward_hook(lambda *_: None)
        return super().score(problem)


class Whitens(Sound):
    def score(self, problem: Problem) -> Scores:
        scores = super().score(problem)
        problem.examples[0].sub_(problem.examples[0].mean())
        return scores


class SeedsEverything(WithoutData):
    def __post_init__(self) -> None:
        super().__post_init__()
        torch.manual_seed(0)
        random.seed(0)


class TurnsToDouble(WithoutData):
    def score(self, problem: Problem) -> Scores:
        scores = super().score(problem)
        torch.set_default_dtype(torch.float64)
        os.environ["MY_PRUNER"] = "was here"
        return scores


class ScoresBatchNorm(WithoutData):
    def score(self, problem: Problem) -> Scores:
        norms = (m for m in problem.model.modules() if isinstance(m, nn.BatchNorm2d))
        extra = {f"norm{i}": m.weight.detach() for i, m in enumerate(norms)}
        return {**super().score(problem), **extra}


class WalksThroughLayers(WithoutData):
    def score(self, problem: Problem) -> Scores:
        x = torch.ones(2, *problem.input_shape)
        for layer in problem.model:  # type: ignore[attr-defined]
            x = layer(x)
        return super().score(problem)


class ExpectsMatrices(WithoutData):
    def score(self, problem: Problem) -> Scores:
        scores = super().score(problem)
        return {name: score / score.flatten(1).norm(dim=1).max() for name, score in scores.items()}


class ExpectsTheClassifier(WithoutData):
    def score(self, problem: Problem) -> Scores:
        last = [name for name, _ in problem.model.named_modules()][-1]
        floor = problem.parameters[f"{last}.weight"].detach().abs().mean()
        return {name: score + floor for name, score in super().score(problem).items()}


class HoldsAFunction(WithoutData):
    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "measure", lambda tensor: tensor.abs())


class Slow(WithoutData):
    def score(self, problem: Problem) -> Scores:
        time.sleep(0.02)
        return super().score(problem)


class Greedy(WithoutData):
    def score(self, problem: Problem) -> Scores:
        torch.zeros(4_000_000)
        return super().score(problem)


class Raises(WithoutData):
    def prune(self, problem: Problem, density: float) -> Masks:
        raise KeyError(density)


FAULTY: dict[type[Any], str] = {
    dict: "contract",
    RevisedToNothing: "contract",
    LooksAtData: "data-free",
    ForgetsALayer: "scores-fit",
    ScoresUnits: "scores-fit",
    NotANumber: "scores-finite",
    AllEqual: "scores-rank",
    KeepsOneMore: "exact-density",
    RanksByItself: "granularity",
    Moody: "deterministic",
    KeepsDenseMasked: "weights-unchanged",
    ResetsStatistics: "buffers-unchanged",
    DropsGradients: "gradients-unchanged",
    SetsModes: "modes-unchanged",
    LeavesAHook: "hooks-removed",
    ReplacesForward: "hooks-removed",
    HooksEverything: "hooks-removed",
    Whitens: "data-unchanged",
    SeedsEverything: "randomness-unchanged",
    TurnsToDouble: "settings-unchanged",
    ScoresBatchNorm: "batch-norm",
    WalksThroughLayers: "residual",
    ExpectsMatrices: "biases",
    ExpectsTheClassifier: "dense-classifier",
    HoldsAFunction: "pickles",
    Slow: "cost",
    Greedy: "cost",
}
"""Faulty pruners, each with the rule that it breaks."""
