"""A ratio above its limit fails, unless a second measurement is below it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain, repeat

import pytest
from bench_ratios import Pair, check


def seconds(*values: float) -> Callable[[], float]:
    """Work that takes these seconds, the last of them from then on."""
    given = chain(values, repeat(values[-1]))
    return lambda: next(given)


def test_the_ratio_is_that_of_the_least_seconds() -> None:
    pair = Pair(seconds(3.0, 2.0, 9.0), seconds(5.0, 8.0, 4.0), turns=2, timed=True)
    assert pair.ratio() == 0.5


def test_the_first_turn_warms_up() -> None:
    def ours() -> None:
        calls.append(None)

    calls: list[None] = []
    Pair(ours, lambda: sum(range(100_000)), times=3, turns=2).ratio()
    assert len(calls) == 3 * (2 + 1)


def test_work_that_is_slow_twice_fails() -> None:
    with pytest.raises(AssertionError, match="limit is 2"):
        check(Pair(seconds(2.1), seconds(1.0), turns=1, timed=True), 2.0)


def test_work_that_is_slow_once_is_measured_again() -> None:
    assert check(Pair(seconds(9.0, 9.0, 1.5), seconds(1.0), turns=1, timed=True), 2.0) == 1.5
