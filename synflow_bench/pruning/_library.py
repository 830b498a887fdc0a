"""Pruning any network in one call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from synflow_bench.errors import ModelError, UsageError
from synflow_bench.host import Host
from synflow_bench.pruning._masks import Masks
from synflow_bench.pruning._problem import Examples, Loss, Problem
from synflow_bench.pruning._pruner import Pruner, resolve_pruner
from synflow_bench.pruning._run import run_pruner
from synflow_bench.suites import PrunerSpec, PruningOptions, validate


def prune(
    model: nn.Module,
    pruner: str | Pruner,
    *,
    compression: float,
    input_shape: tuple[int, ...],
    data: Examples | Iterable[Examples] | None = None,
    loss: Loss = nn.functional.cross_entropy,
    seed: int = 0,
    options: PruningOptions = PruningOptions(),
) -> Masks:
    """Choose the weights of `model` to keep; the model itself is left as it is.

    `pruner` is the name of an installed pruner, with parameters if wanted (`"synflow[rounds=10]"`), or a
    `Pruner`. `input_shape` is that of one example, such as (3, 32, 32). `data` is one batch of inputs
    (N, ...) and labels (N,) or several; pruners that look at no data need none. `loss` is a mean over the
    examples of a batch. `masks.apply_(model)` then zeroes what is not kept.

    Raises `UsageError` for a compression below 1 or beyond the number of weights and for data that does not
    fit the pruner, `UnknownNameError` for an unknown pruner, `ModelError` for a network that has nothing to
    prune or cannot take the input, and `ScoreError` for scores that cannot be ranked.
    """
    if not 1 <= compression < inf:
        raise UsageError(f"compression {compression:g} is not a number from 1 on; 10 keeps one weight in ten")
    chosen = pruner if isinstance(pruner, Pruner) else _find(pruner)
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
    return run_pruner(chosen, problem, 1 / compression).masks


def _find(text: str) -> Pruner:
    spec = validate(PrunerSpec, text, "pruner")
    host = Host.load()
    host.check()
    kind: type[Pruner] = host.pruners.get(spec.name)
    return resolve_pruner(kind, spec)[0]


def _examples(data: Examples | Iterable[Examples], device: torch.device) -> Examples:
    one = isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor)
    batches: list[Any] = [data] if one else list(data)
    if not batches:
        raise UsageError("data has no batch; pass data=(inputs, labels)")
    inputs, labels = (torch.cat(part) for part in zip(*batches, strict=True))
    if len(inputs) != len(labels):
        raise UsageError(
            f"data has {len(inputs)} inputs and {len(labels)} labels; pass one label for each input"
        )
    return inputs.to(device), labels.to(device)


@torch.no_grad()
def _num_classes(problem: Problem) -> int:
    example = torch.ones(1, *problem.input_shape, device=problem.device, dtype=problem.dtype)
    with torch.random.fork_rng(devices=[]):
        try:
            return int(problem.model(example).shape[-1])
        except (RuntimeError, ValueError, AttributeError) as error:
            shape, reason = "x".join(map(str, problem.input_shape)), str(error).partition("\n")[0]
            raise ModelError(f"the network gives no logits for an input of {shape}: {reason}") from error
