"""The rules for pruners that change masks in training, besides those for all pruners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch

from synflow_bench.errors import NotDefinedError, PluginError
from synflow_bench.pruning import (
    Masks,
    MaskUpdate,
    TrainingPruner,
    density_after,
    first_values,
    run_pruner,
    update_masks,
    update_steps,
)
from synflow_bench.testing import state
from synflow_bench.testing.networks import plain, seeded
from synflow_bench.testing.pruners import COMPRESSIONS, PrunerSubject
from synflow_bench.testing.rules import Broken, Rule, Skipped, gate, rule

EPOCH = 50
"""The optimizer steps of an epoch in the trainings of the rules, which have eight or more."""


def changes_masks(subject: PrunerSubject) -> bool:
    """Return True if the subject is a pruner that changes masks in training."""
    with suppress(Exception, SystemExit):  # the rules report it
        return isinstance(subject.plugin, type) and issubclass(subject.plugin, TrainingPruner)
    return False


def updates(subject: PrunerSubject, density: float = 0.1) -> Iterator[tuple[MaskUpdate, Masks]]:
    """Yield the updates of a training with random gradients, each with the masks that the pruner returns."""
    pruner = _made(subject)
    steps = max(8 * EPOCH, 4 * pruner.every)
    problem = subject.problem(seeded(plain))
    with state.restored_globals():
        masks = run_pruner(pruner, problem, density_after(pruner, 0.0, density)).masks
    draw, generator = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    weights = {name: weight.clone() for name, weight in problem.dense.items()}
    values = first_values(pruner, weights, density)
    kept: dict[str, torch.Tensor] = {}
    due = update_steps(pruner, steps, EPOCH)
    for step in dict.fromkeys((due[0], due[len(due) // 2], due[-1])):
        progress = 1.0 if step == due[-1] else step / due[-1]
        noise = {name: torch.randn(weight.shape, generator=draw) for name, weight in weights.items()}
        update = MaskUpdate(
            step=step,
            steps=steps,
            progress=progress,
            density=density_after(pruner, progress, density),
            masks=Masks({name: mask.clone() for name, mask in masks.items()}),
            weights={name: weight * masks[name] for name, weight in weights.items()},
            lr=0.1,
            scope="global",
            seed=problem.generator.initial_seed(),
            generator=generator,
            values=values,
            state=kept,
            _gradients=noise if pruner.needs_gradients else None,
        )
        masks = update_masks(pruner, update)
        yield update, masks


def _made(subject: PrunerSubject) -> TrainingPruner:
    pruner = subject.make()
    if not isinstance(pruner, TrainingPruner):
        raise Skipped("it changes no masks in training")
    return pruner


def reaches_density(subject: PrunerSubject) -> None:
    """The density is that of the cell after the last update, and always in (0, 1]."""
    pruner = _made(subject)
    for compression in COMPRESSIONS:
        for at in range(11):
            density_after(pruner, at / 10, 1 / compression)


def exact_updates(subject: PrunerSubject) -> None:
    """Every update keeps exactly the number of weights that is due, and asks for what is declared."""
    for compression in COMPRESSIONS:
        with suppress(NotDefinedError):
            try:
                list(updates(subject, 1 / compression))
            except PluginError as error:
                raise Broken(f"at compression {compression}: {error}") from error


def deterministic_updates(subject: PrunerSubject) -> None:
    """The updates give the same masks again with an equal generator."""
    first, again = ([masks for _, masks in updates(subject)] for _ in range(2))
    if first != again:
        raise Broken("masks differ between two equal trainings; draw from update.generator alone")


TRAINING_RULES: tuple[Rule[PrunerSubject], ...] = (
    gate(reaches_density),
    *map(rule, (exact_updates, deterministic_updates)),
)
"""The rules for pruners that change masks in training, in the order of their check."""
