"""The rules for pruners that change masks in training: each faulty one breaks its rule alone."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from synflow_bench import MaskUpdate, Problem, TrainingPruner
from synflow_bench.testing import RULES, check_pruner

CALLS = count()


class Still(TrainingPruner):
    """Keeps its first masks."""

    needs_data: ClassVar[bool] = False

    def score(self, problem: Problem) -> Mapping[str, Tensor]:
        return {name: p.detach().abs() for name, p in problem.parameters.items()}

    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        return update.masks


class EndsElsewhere(Still):
    def density_at(self, progress: float, density: float) -> float:
        return density + 0.1 * (1 - density)


class StartsEmpty(Still):
    def density_at(self, progress: float, density: float) -> float:
        return density * progress


class DueTooLate(Still):
    def due(self, steps: int, steps_per_epoch: int) -> range:
        return range(10, 10 * steps, 10)


class BeginsWithNaN(Still):
    def initial(self, weights: Mapping[str, Tensor], density: float) -> Mapping[str, Tensor]:
        return {name: weight / 0 for name, weight in weights.items()}


class DropsAlone(Still):
    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        return update.drop(0.3, {name: weight.abs() for name, weight in update.weights.items()})


class LooksAtGradients(Still):
    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        update.gradients()
        return update.masks


class RemembersNumbers(Still):
    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        update.state["step"] = update.step  # type: ignore[assignment]
        return update.masks


class RemembersByNumber(Still):
    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        update.state[0] = torch.zeros(3)  # type: ignore[index]
        return update.masks


class MoodyInTraining(Still):
    def update(self, update: MaskUpdate) -> Mapping[str, Tensor]:
        scores = {name: next(CALLS) % 7 * draw for name, draw in update.random().items()}
        return update.grow(update.drop(0.3, {n: w.abs() for n, w in update.weights.items()}), scores)


class Unfinished(Still):
    update = TrainingPruner.update


FAULTY: dict[type[Any], str] = {
    EndsElsewhere: "reaches-density",
    StartsEmpty: "reaches-density",
    DueTooLate: "exact-updates",
    BeginsWithNaN: "exact-updates",
    DropsAlone: "exact-updates",
    LooksAtGradients: "exact-updates",
    RemembersNumbers: "exact-updates",
    RemembersByNumber: "exact-updates",
    Unfinished: "reaches-density",
    MoodyInTraining: "deterministic-updates",
}


@pytest.fixture(autouse=True)
def _only_the_rules_of_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [each for each in RULES["training pruner"] if each not in RULES["pruner"]]
    monkeypatch.setitem(RULES, "training pruner", own)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["gmp", "set", "rigl", "edge-popup", "rigl[every=300]"])
def test_those_that_come_with_the_harness_keep_every_rule(name: str) -> None:
    report = check_pruner(name)
    assert {finding.verdict for finding in report.findings} == {"pass"}
    assert len(report.findings) == 3


def test_a_sound_one_keeps_every_rule() -> None:
    assert check_pruner(Still).passed


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda kind: kind.__name__)
def test_a_faulty_one_breaks_its_rule(faulty: type[Any], broken: Any) -> None:
    assert broken(check_pruner(faulty))[:1] == [FAULTY[faulty]]


def test_every_rule_has_a_pruner_that_breaks_it() -> None:
    assert set(FAULTY.values()) == {rule.name for rule in RULES["training pruner"]}
