"""Prune any network in one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import nn

from synflow_bench.errors import ModelError, UsageError, one_line
from synflow_bench.host import Host
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.problem import Examples, Loss, Problem
from synflow_bench.pruning.pruner import Pruner, resolve_pruner
from synflow_bench.pruning.rounds import run_pruner
from synflow_bench.suites import PrunerSpec, PruningOptions, compression_of_sparsity, validate


def prune(
    model: nn.Module,
    pruner: str | Pruner,
    *,
    compression: float | None = None,
    sparsity: float | None = None,
    input_shape: tuple[int, ...],
    data: Examples | Iterable[Examples] | None = None,
    loss: Loss = nn.functional.cross_entropy,
    seed: int = 0,
    options: PruningOptions = PruningOptions(),
) -> Masks:
    """Choose which weights of a network to keep; the network itself is left as it is.

    Args:
        model: The network; what is prunable in it follows from `options`.
        pruner: The name of an installed pruner, with parameters if wanted (`"synflow[rounds=10]"`), or a
            `Pruner`.
        compression: Prunable weights per kept weight: 100 keeps one weight in a hundred.
        sparsity: The same as the share of removed weights: 0.99 is compression 100. Give one of the two.
        input_shape: The shape of one example, such as (3, 32, 32).
        data: Inputs (N, ...) and labels (N,), or several such batches. Pruners that look at
            no data need none.
        loss: A function of logits (N, K) and labels (N,) that gives the mean over the batch; by default cross
            entropy.
        seed: The seed of whatever the pruner draws.
        options: Which parameters are prunable, and the scope.

    Returns:
        The masks; `masks.apply_(model)` zeroes the weights that are not kept.

    Raises:
        UsageError: If the compression is below 1 or beyond the number of weights, or the data do not fit the
            pruner.
        UnknownNameError: If no pruner has this name.
        ModelError: If the network has nothing to prune, or cannot take the input.
        ScoreError: If the scores cannot be ranked.

    Example:
        >>> import torch
        >>> import synflow_bench as sfb
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
        >>> masks = sfb.prune(model, "synflow", sparsity=0.9, input_shape=(20,))
        >>> masks.kept, masks.size
        (150, 1500)
    """
    chosen = pruner if isinstance(pruner, Pruner) else _installed(pruner)
    if chosen.needs_data and data is None:
        raise UsageError(f"pruner {type(chosen).__name__} scores with data; pass data=(inputs, labels)")
    problem = Problem.of(
        model,
        input_shape=tuple(input_shape),
        num_classes=0,
        generator=torch.Generator().manual_seed(seed),
        loss=loss,
        options=options,
    )
    examples = None if data is None or not chosen.needs_data else _examples(data, problem.device)
    problem = replace(problem, num_classes=_num_classes(problem), examples=examples)
    return run_pruner(chosen, problem, 1 / _compression(compression, sparsity)).masks


def _compression(compression: float | None, sparsity: float | None) -> float:
    if (compression is None) == (sparsity is None):
        raise UsageError("give compression=10 or sparsity=0.9, one of the two")
    if sparsity is not None:
        return compression_of_sparsity(sparsity)
    assert compression is not None  # noqa: S101  one of the two is given
    if not 1 <= compression < inf:
        raise UsageError(f"compression {compression:g} is not a number from 1 on; 10 keeps one weight in ten")
    return compression


def _installed(text: str) -> Pruner:
    spec = validate(PrunerSpec, text, "pruner")
    host = Host.load()
    host.check()
    kind: type[Pruner] = host.pruners.get(spec.name)
    return resolve_pruner(kind, spec)[0]


def _examples(data: Examples | Iterable[Examples], device: torch.device) -> Examples:
    one = isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], torch.Tensor)
    batches: list[Any] = [data] if one else list(data)
    if not batches:
        raise UsageError("data has no batch; pass data=(inputs, labels)")
    inputs, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    if len(inputs) != len(labels):
        raise UsageError(
            f"data has {len(inputs)} inputs and {len(labels)} labels; pass one label for each input"
        )
    return inputs.to(device), labels.to(device)


def _num_classes(problem: Problem) -> int:
    example = torch.ones(1, *problem.input_shape, device=problem.device, dtype=problem.dtype)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            return int(problem.model(example).shape[-1])
        except (RuntimeError, ValueError, AttributeError) as error:
            shape, reason = (
                "x".join(map(str, problem.input_shape)),
                one_line(error, with_type=False, first_line=True),
            )
            raise ModelError(f"the network gives no logits for an input of {shape}: {reason}") from error
