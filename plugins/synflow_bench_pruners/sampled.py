"""Masks that are drawn at random, with probabilities that another pruner's scores give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import ClassVar

import torch
from torch import Tensor

from synflow_bench import Masks, Problem, Pruner, TrainingPruner
from synflow_bench.errors import UsageError
from synflow_bench.host import Host
from synflow_bench.pruning import Score, ScoreGroups, resolve_pruner
from synflow_bench.suites import PrunerSpec, validate

EDGE = 2.0**-53
"""The distance of uniform draws from 0 and 1, where their logarithms have no end."""


class _AsTheOther:
    """Needs data if the pruner whose scores are taken does; of the class alone that is not known."""

    def __get__(self, pruner: Sampled | None, kind: type[Sampled]) -> bool:
        return pruner is None or pruner.other.needs_data


class Sampled(Pruner):
    """Sampled: draw masks with P ~ another pruner's scores.

    The other pruner runs with its own rounds and parameters. Where it would keep the weights with the largest
    scores, weights are drawn one after the other without replacement, each with a probability in proportion
    to its score among those that are left: the largest log(score) + G are kept, with independent Gumbel draws
    G. Weights with a score of zero or less come last, in random order.

    Paper: Bar, Giryes, "Pruning at Initialization - A Sketching Perspective", 2023, arXiv 2305.17559, who see
    a mask as a sketch of a matrix, and draw it at random instead of taking the largest scores.

    There is no official code. Drawing without replacement keeps the number of weights exact. Any installed
    pruner that has scores can be named, `sampled[of=snip]`; in a suite's table or from Python it can have
    parameters, `of = "synflow[rounds=1]"`.

    Args:
        of: The pruner that gives the scores.
    """

    group_revision: ClassVar[int] = 1
    needs_data: ClassVar[bool] = _AsTheOther()  # type: ignore[assignment]
    of: str = "synflow"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.other, TrainingPruner):
            raise UsageError(
                f"of={self.of}: this pruner changes its masks in training; name one that prunes once"
            )
        if type(self.other).score is Pruner.score:
            raise UsageError(
                f"of={self.of}: this pruner makes masks without scores; name one that has scores"
            )
        if (self.rounds, self.schedule) != (1, "exponential"):
            raise UsageError("rounds and schedule are those of the pruner named by `of`; leave them out")

    @property
    def other(self) -> Pruner:
        """The pruner that gives the scores."""
        spec = validate(PrunerSpec, self.of, "of")
        kind = Host.load(report=lambda _: None).pruners.get(spec.name)
        return resolve_pruner(kind, spec)[0]

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        """Return keys of which the largest are a draw from the other pruner's scores."""
        return drawn_keys(problem, self.other.score(problem))

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks of the other pruner with a draw in every round."""
        values = {field.name: getattr(problem, field.name) for field in fields(problem)}
        return self.other.prune(_Drawing(**values), density)


class _Drawing(Problem):
    """A problem that draws the weights to keep."""

    def keep(
        self, score: Score, *, revive: bool = False, score_groups: ScoreGroups | None = None
    ) -> tuple[Problem, Masks]:
        """Score this round and draw the `density` share of weights in proportion to the scores.

        Kernels and channels are drawn in proportion to scores of their own.
        """
        if not self.options.ranks_groups:
            return super().keep(lambda posed: drawn_keys(posed, score(posed)), revive=revive)

        def drawn(sums: Tensor) -> Tensor:
            return drawn_keys(self, {"": score_groups(sums) if score_groups else sums})[""]

        return super().keep(score, revive=revive, score_groups=drawn)


def drawn_keys(problem: Problem, scores: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return keys of which the largest are a draw without replacement, in proportion to `scores`.

    Keys of positive scores are at least 2, and those of the others below 1: 0 in a layer without any positive
    score, of which the harness warns, and random in other layers. Scores that cannot be drawn from are
    returned as they are, and the harness says what is wrong with them.
    """
    wide = {name: score.detach().double() for name, score in scores.items()}
    finite = all(bool(score.isfinite().all()) for score in wide.values())
    some = [name for name, score in wide.items() if bool((score > 0).any())]  # in the order of the network
    if not finite or not some:
        return scores
    keys = {name: wide[name].log() - (-_uniform(problem, wide[name]).log()).log() for name in some}
    lowest = min(float(key[wide[name] > 0].amin()) for name, key in keys.items())
    return {
        name: torch.where(score > 0, keys[name] - lowest + 2, _uniform(problem, score))
        if name in some
        else torch.zeros_like(score)
        for name, score in wide.items()
    }


def _uniform(problem: Problem, like: Tensor) -> Tensor:
    drawn = torch.rand(like.shape, generator=problem.generator, dtype=torch.float64)
    return drawn.clamp_(EDGE, 1 - EDGE).to(like.device)
