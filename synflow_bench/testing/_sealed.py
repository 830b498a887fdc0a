"""A problem without data, which says when it is asked for them."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from synflow_bench.pruning import Problem


class AskedForDataError(Exception):
    """A data-free pruner wants a batch."""


@dataclass(frozen=True)
class _Sealed(Problem):
    """A problem that gives no data, and says when it is asked for them."""

    def batches(self, size: int | None = None) -> Any:
        raise AskedForDataError(size)


def sealed(problem: Problem) -> Problem:
    """The same problem, with its data out of reach."""
    return _Sealed(**{field.name: getattr(problem, field.name) for field in fields(problem)})
