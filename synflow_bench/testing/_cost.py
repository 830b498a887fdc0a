"""What a pruning costs, beside that of the plainest score there is."""

from __future__ import annotations

import time
from typing import ClassVar

from torch import Tensor

from synflow_bench.pruning import Problem, Pruner
from synflow_bench.testing._memory import PeakMemory
from synflow_bench.testing._subject import PrunerSubject


def cost_of(subject: PrunerSubject, repetitions: int = 1) -> tuple[float, int]:
    """Seconds of the quickest of several prunings, and the peak of the memory of tensors in bytes."""
    seconds = min(_seconds(subject) for _ in range(repetitions))
    with PeakMemory() as memory:
        subject.prune()
    return seconds, memory.peak


def _seconds(subject: PrunerSubject) -> float:
    started = time.perf_counter()
    subject.prune()
    return time.perf_counter() - started


class _Magnitude(Pruner):
    """What the cost of others is measured against."""

    needs_data: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        return {name: p.detach().abs() for name, p in problem.parameters.items()}


MAGNITUDE = PrunerSubject("magnitude", lambda: _Magnitude)
