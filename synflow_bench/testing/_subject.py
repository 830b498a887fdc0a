"""A pruner under examination, and what it is tried on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from synflow_bench.errors import PluginError
from synflow_bench.pruning import Masks, Problem, Pruner, resolve_pruner, run_pruner
from synflow_bench.suites import PrunerSpec, PruningOptions
from synflow_bench.testing import _surroundings
from synflow_bench.testing._dependencies import Dependencies
from synflow_bench.testing._networks import CLASSES, SHAPE, Build, plain, seeded, with_batch_norm
from synflow_bench.testing._rule import NotAsked
from synflow_bench.testing._watched import State, changed, copies, rigging

EXAMPLES_PER_CLASS = 10


@dataclass
class PrunerSubject:
    """A pruner's class with the parameters to try; `load` brings the class, imported now if need be.

    Messages name it by `title`, which may say where it is from.
    """

    name: str
    load: Callable[[], Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    dependencies: Dependencies = field(default_factory=Dependencies)

    @cached_property
    def kind(self) -> type[Pruner]:
        """The class."""
        kind: type[Pruner] = self.load()
        return kind

    def make(self) -> Pruner:
        """A new pruner with the parameters."""
        spec = PrunerSpec(name=self.name, parameters=dict(self.parameters))
        return resolve_pruner(self.kind, spec, self.title)[0]

    def problem(self, network: nn.Module, **options: bool) -> Problem:
        """The problem of pruning `network`; with data only for a pruner that says it needs them."""
        return Problem.of(
            network,
            input_shape=SHAPE,
            num_classes=CLASSES,
            generator=torch.Generator().manual_seed(0),
            options=PruningOptions.model_validate(options),
            examples=examples(next(network.parameters()).dtype) if self.kind.needs_data else None,
        )

    def prune(self, build: Build = plain, compression: float = 10.0, **options: bool) -> Masks:
        """What a new pruner keeps of a new network, as the harness would let it choose."""
        problem = self.problem(seeded(build), **options)
        with _surroundings.kept_surroundings():
            return run_pruner(self.make(), problem, 1 / compression).masks

    @cached_property
    def plainly(self) -> Masks:
        """What it keeps of the plain network; `NotAsked` where it raises, which another rule tells."""
        try:
            return self.prune()
        except NotAsked:
            raise
        except (Exception, SystemExit) as error:
            if self.dependencies.missing(error):
                raise
            raise NotAsked("not asked: it cannot prune a plain network to compression 10") from error

    def prune_also(self, build: Build = plain, **options: bool) -> None:
        """Prune a network that has something more than the plain one."""
        _ = self.plainly
        self.prune(build, **options)

    @cached_property
    def changes(self) -> Changes:
        """What one pruning of a network with batch norm has changed around it."""
        return Changes.by(self)


@dataclass(frozen=True)
class Changes:
    """The names of what is different after a pruning, by the rule that forbids it."""

    weights: list[str]
    buffers: list[str]
    gradients: list[str]
    modes: list[str]
    hooks: list[str]
    data: list[str]
    randomness: list[str]
    settings: list[str]

    @classmethod
    def by(cls, subject: PrunerSubject) -> Changes:
        """Prune a network in whose state everything would show, and look at it again."""
        network = seeded(_lived_in)
        surroundings = (_surroundings.randomness(), _surroundings.settings(), _surroundings.global_hooks())
        before = State.of(network)
        problem = subject.problem(network)
        dense, data, rigged = copies(problem.dense.items()), _data(problem), rigging(problem.model)
        _prune(subject, problem)
        after = State.of(network)
        inside = changed(rigged, rigging(problem.model))
        of_all = _surroundings.differences(surroundings[2], _surroundings.global_hooks())
        return cls(
            weights=changed(before.weights, after.weights) or changed(dense, problem.dense),
            buffers=changed(before.buffers, after.buffers),
            gradients=changed(before.gradients, after.gradients),
            modes=changed(before.modes, after.modes),
            hooks=changed(before.rigging, after.rigging) or inside or of_all,
            data=changed(data, _data(problem)),
            randomness=_surroundings.differences(surroundings[0], _surroundings.randomness()),
            settings=_surroundings.differences(surroundings[1], _surroundings.settings()),
        )


def examples(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Inputs (50, 2, 8, 8), each class around a pattern of its own, and labels (50,) int64."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(CLASSES, *SHAPE, generator=generator)
    labels = torch.arange(CLASSES * EXAMPLES_PER_CLASS) % CLASSES
    inputs = patterns[labels] + torch.randn(len(labels), *SHAPE, generator=generator)
    return inputs.to(dtype), labels


def check_kind(kind: object) -> None:
    """Raise `PluginError` unless `kind` is a subclass of `Pruner`."""
    if not (isinstance(kind, type) and issubclass(kind, Pruner)):
        raise PluginError(f"{named(kind)} is no subclass of synflow_bench.Pruner; make it one")


def named(plugin: object) -> str:
    """What was given for a plugin, as one reads it: `class 'Mine'`, `function 'mine'`, `a list`."""
    kind, name = type(plugin).__name__, getattr(plugin, "__name__", None)
    return f"{'class' if isinstance(plugin, type) else kind} {name!r}" if name else f"a {kind}"


def _prune(subject: PrunerSubject, problem: Problem) -> None:
    try:
        run_pruner(subject.make(), problem, 1 / 10)
    except NotAsked:
        raise
    except (Exception, SystemExit) as error:
        if subject.dependencies.missing(error):
            raise
        raise NotAsked("not asked: it cannot prune a network with batch norm") from error


def _lived_in() -> nn.Module:
    """A network in training, with gradients, one part in eval mode and a hook."""
    network = with_batch_norm().train()
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape)
    network.get_submodule("bn1").eval()
    network.get_submodule("conv").register_forward_hook(_no_change)
    return network


def _no_change(module: nn.Module, inputs: object, output: object) -> None:
    """A hook that a user may have put there."""


def _data(problem: Problem) -> dict[str, Tensor]:
    return copies(zip(("inputs", "labels"), problem.examples or (), strict=False))
