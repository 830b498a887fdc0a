"""The k largest of 15 million scores in 14 rows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from synflow_bench.pruning.selection import keep_largest

ROWS = 14
SIZE = 1_050_000
COMPRESSION = 10


def ours(rows: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    return keep_largest(rows, masks, _kept(rows))[0]


def with_kthvalue(rows: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    flat = torch.cat(rows)
    threshold = flat.kthvalue(len(flat) - _kept(rows) + 1).values
    return [row >= threshold for row in rows]


def with_a_sort(rows: list[Tensor], masks: list[Tensor]) -> list[Tensor]:
    threshold = torch.cat(rows).sort(descending=True).values[_kept(rows) - 1]
    return [row >= threshold for row in rows]


def _kept(rows: list[Tensor]) -> int:
    return sum(len(row) for row in rows) // COMPRESSION


def scores(rows: int, size: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return rows of random scores, and masks that keep all of them."""
    draw = torch.Generator().manual_seed(0)
    drawn = [torch.rand(size, generator=draw) for _ in range(rows)]
    return drawn, [torch.ones(size, dtype=torch.bool) for _ in range(rows)]


@pytest.mark.benchmark(group="k largest of 15 million")
@pytest.mark.parametrize("method", [ours, with_kthvalue, with_a_sort], ids=lambda f: f.__name__)
def bench_selection(
    benchmark: BenchmarkFixture, method: Callable[[list[Tensor], list[Tensor]], list[Tensor]]
) -> None:
    rows, masks = scores(ROWS, SIZE)
    kept = benchmark.pedantic(method, (rows, masks), rounds=3, warmup_rounds=1)
    assert abs(sum(int(row.sum()) for row in kept) - _kept(rows)) < 10
