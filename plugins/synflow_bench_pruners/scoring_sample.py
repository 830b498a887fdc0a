"""Fresh examples for every round, for methods whose authors score on new batches each time."""

from __future__ import annotations

from dataclasses import replace

import torch

from synflow_bench import Problem


def sampled(problem: Problem, number: int) -> Problem:
    """The problem with `number` of its scoring examples drawn anew; with all of them if it has no more."""
    if problem.examples is None or number >= len(problem.examples[1]):
        return problem
    inputs, labels = problem.examples
    drawn = torch.randperm(len(labels), generator=problem.generator)[:number].to(labels.device)
    return replace(problem, examples=(inputs[drawn], labels[drawn]))
