"""The request of a study: networks, pruners, and how far to prune."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from math import inf
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from synflow_bench.api import find_suite
from synflow_bench.cli import say
from synflow_bench.data import default_data_root
from synflow_bench.errors import NotDefinedError, UsageError
from synflow_bench.execution import resolve_datasets, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.protocols import Network, WorkerContext, build_network, generator, scoring_data
from synflow_bench.pruning import Masks, Problem, Pruner, TrainingPruner, resolve_pruner, run_pruner
from synflow_bench.suites import (
    Cell,
    PrunerSpec,
    Revisions,
    Setting,
    expand_pruners,
    override,
    seed_of,
    validate,
)
from synflow_bench.training import resolve_device, set_up_process
from synflow_bench_studies.catalogue import Study
from synflow_bench_studies.table import Row

P = TypeVar("P", bound=Problem)
T = TypeVar("T")

_NO_DATASET = "none"
"""Stands for a dataset in the seeds of a network that has none."""

_EXAMPLE = (
    "such as --model fc --dataset digits, or --model imagenet/vgg19 --input-shape 3x224x224 --classes 1000"
)


class Input(NamedTuple):
    """The input shape, such as (C, H, W), and the number of classes of a network without a dataset."""

    shape: tuple[int, ...]
    classes: int


@dataclass(frozen=True)
class Options:
    """The options of a study, as on the command line; empty ones take the defaults of the study."""

    models: Sequence[str] = ()
    datasets: Sequence[str] = ()
    input_shape: tuple[int, int, int] | None = None
    classes: int | None = None
    pruners: Sequence[str] = ()
    compressions: Sequence[float] = ()
    rounds: Sequence[int] = ()
    schedules: Sequence[str] = ()
    seeds: Sequence[int] = ()
    suite: str = "quick"
    epochs: int | None = None
    assignments: Sequence[str] = ()
    threads: int = 1
    device: str = "auto"
    data: Path = field(default_factory=default_data_root)

    def request(self, study: Study, host: Host) -> Request:
        """Make the request of `study`, and set this process up to compute.

        Raises:
            HandledError: An option names what does not exist, does not fit, or has no effect.
        """
        self._check(study)
        settings = self._settings(host)
        names = expand_pruners(list(self.pruners or study.pruners))
        pruners = resolve_pruners([validate(PrunerSpec, each, "pruner") for each in names], host)
        device = resolve_device(self.device)
        set_up_process(device, self.threads)
        return Request(
            context=WorkerContext(host=host, data_root=self.data, device=device, threads=self.threads),
            settings=settings,
            pruners=pruners,
            compressions=self.compressions or study.compressions,
            rounds=self.rounds or study.rounds,
            schedules=self.schedules or study.schedules,
            seeds=tuple(dict.fromkeys(self.seeds)) or (0,),
            input=Input(self.input_shape, self.classes) if self.input_shape and self.classes else None,
        )

    def _check(self, study: Study) -> None:
        shape = "x".join(map(str, self.input_shape or ()))
        if not self.models:
            raise UsageError(f"name a model with --model, {_EXAMPLE}")
        if not self.datasets and not shape:
            raise UsageError(f"name a dataset with --dataset, or a shape with --input-shape, {_EXAMPLE}")
        if self.datasets and (shape or self.classes):
            raise UsageError("a dataset has its own shape and classes; leave out --input-shape and --classes")
        if study.trains and not self.datasets:
            raise UsageError(f"{study.name} trains; name a dataset with --dataset")
        if shape and not self.classes:
            raise UsageError(
                f"--input-shape {shape} needs a number of classes; add --classes, 1000 for those of ImageNet"
            )
        if self.epochs and not study.trains:
            raise UsageError(f"{study.name} trains nothing; leave out --epochs")
        if study.trains and (self.compressions or self.rounds or self.schedules):
            options = "--compression, --sparsity, --rounds and --schedule"
            raise UsageError(f"{study.name} prunes nothing; leave out {options}")
        for each in self.compressions:
            if not 1 <= each < inf:
                raise UsageError(f"compression ratio {each:g} is not at least 1; 10 keeps a tenth of weights")

    def _settings(self, host: Host) -> list[Setting]:
        for dataset in self.datasets:
            host.dataset_class(dataset)
        for model in self.models:
            host.models.entry(model)
        epochs = (f"recipe.epochs={self.epochs}",) if self.epochs else ()
        suite = override(
            find_suite(self.suite, host),
            datasets=self.datasets or (_NO_DATASET,),
            models=self.models,
            assignments=(*self.assignments, *epochs),
        )
        suite = resolve_datasets(suite, host, self.data)
        return list({setting.id: setting for setting in suite.settings}.values())


@dataclass(frozen=True)
class Request:
    """Networks, and pruners to apply to each.

    The networks are those of `settings`, each with every seed; `input` replaces their dataset where they have
    none. The pruners are those of `pruners`, each with every number of `rounds` and every schedule.
    """

    context: WorkerContext
    settings: Sequence[Setting]
    pruners: Sequence[PrunerSpec]
    compressions: Sequence[float] = (1,)
    rounds: Sequence[int] = ()
    schedules: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    input: Input | None = None
    _left_out: set[str] = field(default_factory=set, init=False, compare=False)

    def subjects(self) -> Iterator[Subject]:
        """Yield every network.

        Raises:
            DataMissingError: A pruner scores with data that are not there.
        """
        self._check_data()
        pruner, revisions = self.pruners[0], Revisions()
        for setting, seed in product(self.settings, self.seeds):
            cell = Cell(setting=setting, pruner=pruner, compression=1, seed=seed, revisions=revisions)
            yield Subject(self.context, cell, self.input)

    def variants(self) -> list[Variant]:
        """List every pruner with every number of rounds and schedule."""
        return [
            self._variant(spec, {name: value for name, value in given.items() if value is not None})
            for spec in self.pruners
            for rounds, schedule in product(self.rounds or (None,), self.schedules or (None,))
            for given in [{"rounds": rounds, "schedule": schedule}]
        ]

    def defined(self, subject: Subject, compute: Callable[[Variant, float], T]) -> Iterator[Computed[T]]:
        """Yield what `compute` gives for each variant and compression at which the method is defined.

        Each of the others is left out, with a line on stderr that says why.
        """
        for variant, compression in product(self.variants(), self.compressions):
            try:
                variant.check_prunes_once()
                found = compute(variant, compression)
            except NotDefinedError as error:
                self._leave_out(f"{variant.label} at compression {compression:g}: {error}")
                continue
            row = {**subject.row, **variant.columns, "compression": compression}
            yield Computed(row, variant, found)

    def _leave_out(self, line: str) -> None:
        if line not in self._left_out:
            self._left_out.add(line)
            say(f"left out: {line}")

    def _variant(self, spec: PrunerSpec, given: dict[str, int | str]) -> Variant:
        kind = self.context.host.pruners.get(spec.name)
        own = {name: value for name, value in spec.parameters.items() if name not in given}
        _, plain = resolve_pruner(kind, spec.model_copy(update={"parameters": own}))
        pruner, full = resolve_pruner(kind, spec.model_copy(update={"parameters": {**own, **given}}))
        return Variant(plain.label, full, pruner)

    def _check_data(self) -> None:
        wanting = [variant.label for variant in self.variants() if variant.pruner.needs_data]
        if wanting and self.input:
            raise UsageError(f"pruner {wanting[0]!r} scores with data; name a dataset with --dataset")
        for setting in self.settings if wanting else ():
            self.context.data(setting.dataset)


@dataclass(frozen=True)
class Variant:
    """A pruner of a request; `label` leaves out the number of rounds and the schedule."""

    label: str
    spec: PrunerSpec
    pruner: Pruner

    @property
    def columns(self) -> Row:
        """The columns that name the variant in a table."""
        return {"pruner": self.label, "rounds": self.pruner.rounds, "schedule": self.pruner.schedule}

    def check_prunes_once(self) -> None:
        """Check that the masks of the pruner are those of the method.

        Raises:
            NotDefinedError: It begins with these masks and changes them in training.
        """
        if isinstance(self.pruner, TrainingPruner):
            raise NotDefinedError("it changes its masks in training; a study prunes once, before training")


@dataclass(frozen=True)
class Computed(Generic[T]):
    """The result of one pruning of a network, and the columns that name them in a table."""

    row: Row
    variant: Variant
    result: T


@dataclass(frozen=True)
class Subject:
    """A network with the weights that `synflow-bench run` gives it for this dataset, model and seed."""

    context: WorkerContext
    cell: Cell
    input: Input | None

    @property
    def row(self) -> Row:
        """The columns that name the network in a table."""
        setting = self.cell.setting
        dataset = None if self.input else setting.dataset_label
        return {"dataset": dataset, "model": setting.model.name, "seed": self.cell.seed}

    @cached_property
    def network(self) -> Network:
        """The network, built when first used and then kept."""
        setting, (shape, classes) = self.cell.setting, self._input()
        factory = self.context.host.models.get(setting.model.name)
        seed = seed_of(self.cell, "init")
        return build_network(factory, setting.model, shape, classes, seed, self.context.device)

    def pose(self, variant: Variant, kind: type[P]) -> P:
        """Pose the problem of pruning the network, with data where the pruner needs them."""
        shape, classes = self._input()
        spec = self.cell.pruner.model_copy(update={"name": variant.spec.name})
        return kind.of(
            self.network.model,
            input_shape=shape,
            num_classes=classes,
            generator=generator(self.cell.model_copy(update={"pruner": spec}), "pruner"),
            options=self.cell.setting.pruning,
            examples=self._examples() if variant.pruner.needs_data else None,
        )

    def prune(self, variant: Variant, compression: float) -> Masks:
        """Prune the network exactly as a run does, and return the masks."""
        return run_pruner(variant.pruner, self.pose(variant, Problem), 1 / compression).masks

    def scores(self, variant: Variant, compression: float) -> tuple[Problem, Mapping[str, Tensor]]:
        """Score the weights that the pruner keeps at `compression`.

        Returns:
            The problem that was scored, and the scores by parameter name, 0 for masked weights.

        Raises:
            UsageError: The pruner makes masks without scores.
        """
        pruner = variant.pruner
        if type(pruner).score is Pruner.score:
            raise UsageError(
                f"pruner {variant.spec.name!r} makes masks without scores; choose one that scores weights"
            )
        problem = self.pose(variant, Problem)
        masks = problem.masks if compression == 1 else self.prune(variant, compression)
        problem = problem.at(masks, density=masks.density, round=1)
        with torch.enable_grad():
            scores = pruner.score(problem)
        if masks.kept == masks.size:
            return problem, {layer: score.detach() for layer, score in scores.items()}
        return problem, {layer: score.detach() * masks[layer] for layer, score in scores.items()}

    def in_double(self) -> Subject:
        """Return the same network with float64 weights, for sums that must agree closely."""
        wider = replace(self)
        if self.context.device.type != "mps":
            self.network.model.double()
        wider.__dict__["network"] = self.network
        return wider

    def _input(self) -> Input:
        if self.input:
            return self.input
        dataset = self.context.host.dataset(self.cell.setting.dataset, self.context.data_root)
        return Input(dataset.input_shape, dataset.num_classes)

    def _examples(self) -> tuple[Tensor, Tensor]:
        inputs, labels = scoring_data(self.cell, self.context)
        return inputs.to(next(self.network.model.parameters()).dtype), labels


@runtime_checkable
class HasFlow(Protocol):
    """A pruner that defines the total flow of its scores."""

    def flow(self, problem: Problem, scores: Mapping[str, Tensor]) -> float:
        """Return the total flow of `problem`, given the scores of its kept weights."""


def total_flow(pruner: Pruner, problem: Problem, scores: Mapping[str, Tensor]) -> float:
    """Return the total flow, or for a pruner without one the largest score sum of a layer's kept weights."""
    if isinstance(pruner, HasFlow):
        return pruner.flow(problem, scores)
    return max(score_sum(score[problem.masks[name]]) for name, score in scores.items())


def score_sum(scores: Tensor) -> float:
    """Sum absolute scores in float64."""
    return float(np.sum(scores.detach().abs().cpu().numpy(), dtype=np.float64))
