"""The simulated cluster against closed forms."""

from __future__ import annotations

import math
from itertools import product
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulate_cluster import HOUR, Cluster, simulate

LENGTHS = st.lists(st.floats(0.1, 100), min_size=1, max_size=40)
WORKERS = st.integers(1, 12)


@given(st.integers(1, 200), WORKERS)
def test_equal_cells_without_failures_take_whole_waves(cells: int, workers: int) -> None:
    run = simulate([3.0] * cells, Cluster(workers))
    assert run.makespan == pytest.approx(math.ceil(cells / workers) * 3.0)
    assert run.utilization == pytest.approx(cells * 3.0 / (workers * run.makespan))
    assert (run.failures, run.lost) == (0, 0.0)


@given(st.integers(1, 100))
def test_one_dispatcher_sends_one_cell_after_another(cells: int) -> None:
    run = simulate([1.0] * cells, Cluster(workers=cells, dispatch=0.5, start=10.0))
    assert run.makespan == pytest.approx(10.0 + 0.5 * cells + 1.0)


@given(LENGTHS, WORKERS)
def test_any_order_is_within_the_bounds_of_graham(lengths: list[float], workers: int) -> None:
    """Bounds for Certain Multiprocessing Anomalies, Graham 1966."""
    least = max(sum(lengths) / workers, max(lengths))
    makespan = simulate(lengths, Cluster(workers)).makespan
    assert least * (1 - 1e-9) <= makespan <= sum(lengths) / workers + max(lengths) * (1 - 1 / workers) + 1e-6


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=6), st.integers(1, 3))
def test_longest_first_is_within_a_third_of_the_best(lengths: list[float], workers: int) -> None:
    """Bounds on Multiprocessing Timing Anomalies, Graham 1969."""
    best = min(
        max(sum(lengths[i] for i in range(len(lengths)) if where[i] == w) for w in range(workers))
        for where in product(range(workers), repeat=len(lengths))
    )
    makespan = simulate(sorted(lengths, reverse=True), Cluster(workers)).makespan
    assert best * (1 - 1e-9) <= makespan <= (4 / 3 - 1 / (3 * workers)) * best * (1 + 1e-9)


def test_failures_are_as_many_as_expected_and_cost_what_is_expected() -> None:
    """An attempt of t hours ends well with probability exp(-rate t): exp(rate t) - 1 failures per cell, and
    (exp(rate t) - 1) / rate hours for a cell with all of its attempts."""
    rate, hours, cells = 0.5, 1.0, 20_000
    run = simulate([hours * HOUR] * cells, Cluster(workers=50, failures=rate))
    a_cell = math.expm1(rate * hours)
    assert run.failures / cells == pytest.approx(a_cell, rel=0.03)
    assert (run.useful + run.lost) / HOUR / cells == pytest.approx(a_cell / rate, rel=0.03)
    assert run.useful == pytest.approx(cells * HOUR)


def test_a_failure_costs_a_start() -> None:
    lost = [simulate([HOUR] * 50, Cluster(1, failures=0.3, start=start), seed=4) for start in (0.0, 100.0)]
    assert lost[0].failures == lost[1].failures > 0
    assert lost[1].makespan - lost[0].makespan == pytest.approx(100.0 * (1 + lost[0].failures))


def test_slow_workers_take_longer_and_the_spread_has_median_one() -> None:
    assert simulate([2.0] * 10, Cluster(2, slow=1.0, slowness=3.0)).makespan == pytest.approx(30.0)
    useful = [simulate([1.0], Cluster(1, spread=0.3), seed).useful for seed in range(2000)]
    assert fmean(math.log(seconds) for seconds in useful) == pytest.approx(0.0, abs=0.03)
    assert sorted(useful)[1000] == pytest.approx(1.0, abs=0.03)


@given(st.integers(0, 2**32))
def test_equal_seeds_give_equal_runs(seed: int) -> None:
    lengths = [(1 + seed % (7 * cell + 1)) * 60.0 for cell in range(30)]
    cluster = Cluster(4, dispatch=0.1, start=5.0, spread=0.2, slow=0.2, slowness=2.0, failures=0.5)
    assert simulate(lengths, cluster, seed) == simulate(lengths, cluster, seed)


def test_no_cells_take_no_time() -> None:
    run = simulate([], Cluster(3, start=9.0))
    assert (run.makespan, run.utilization) == (0.0, 1.0)
