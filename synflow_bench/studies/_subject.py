"""A network that a study looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from synflow_bench.errors import UsageError
from synflow_bench.protocols import Bench, Network, build_network, generator, scoring_data
from synflow_bench.pruning import Masks, Problem, Pruner, run_pruner
from synflow_bench.studies._table import Row
from synflow_bench.suites import Cell, seed_of

P = TypeVar("P", bound=Problem)


@dataclass(frozen=True)
class Subject:
    """A network with the weights that `synflow-bench run` gives it at this data set, model and seed."""

    bench: Bench
    cell: Cell
    shape: tuple[int, int, int] | None
    classes: int

    @property
    def row(self) -> Row:
        """What names the subject in a table."""
        setting = self.cell.setting
        dataset = None if self.shape else setting.dataset
        return {"dataset": dataset, "model": setting.model.name, "seed": self.cell.seed}

    @cached_property
    def network(self) -> Network:
        """Built at first use, and kept."""
        setting, host = self.cell.setting, self.bench.host
        shape, classes = self._input()
        factory = host.models.get(setting.model.name)
        seed = seed_of(self.cell, "init")
        return build_network(factory, setting.model, shape, classes, seed, self.bench.device)

    def pose(self, pruner: Pruner, name: str, kind: type[P]) -> P:
        """The problem of pruning the network, with data where the pruner wants them."""
        shape, classes = self._input()
        cell = self.cell.model_copy(update={"pruner": self.cell.pruner.model_copy(update={"name": name})})
        return kind.of(
            self.network.model,
            input_shape=shape,
            num_classes=classes,
            generator=generator(cell, "pruner"),
            options=cell.setting.pruning,
            examples=self._examples() if pruner.needs_data else None,
        )

    def in_double(self) -> Subject:
        """The same subject with float64 weights, for sums that must agree closely."""
        wider = replace(self)
        if self.bench.device.type != "mps":
            self.network.model.double()
        wider.__dict__["network"] = self.network
        return wider

    def _input(self) -> tuple[tuple[int, int, int], int]:
        if self.shape:
            return self.shape, self.classes
        dataset = self.bench.host.datasets.get(self.cell.setting.dataset)
        return dataset.input_shape, dataset.num_classes

    def _examples(self) -> tuple[Tensor, Tensor]:
        inputs, labels = scoring_data(self.cell, self.bench)
        return inputs.to(next(self.network.model.parameters()).dtype), labels


def prune(subject: Subject, pruner: Pruner, name: str, compression: float) -> Masks:
    """The masks at `compression`, exactly as a run makes them."""
    return run_pruner(pruner, subject.pose(pruner, name, Problem), 1 / compression).masks


def scores_at(
    subject: Subject, pruner: Pruner, name: str, compression: float
) -> tuple[Problem, Mapping[str, Tensor]]:
    """The pruner's scores of what it keeps at `compression`, and the problem that they are of.

    Raises `UsageError` for a pruner that makes masks without scores.
    """
    if type(pruner).score is Pruner.score:
        raise UsageError(f"pruner {name!r} makes masks without scores; choose one that scores weights")
    problem = subject.pose(pruner, name, Problem)
    masks = problem.masks if compression == 1 else prune(subject, pruner, name, compression)
    problem = problem.at(masks, density=masks.density, round=1)
    with torch.enable_grad():
        scores = pruner.score(problem)
    if masks.kept == masks.size:
        return problem, {layer: score.detach() for layer, score in scores.items()}
    return problem, {layer: score.detach() * masks[layer] for layer, score in scores.items()}
