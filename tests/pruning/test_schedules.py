"""How density falls: the published formulas, with the last round exact."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.pruning import Schedule, densities

RHO = st.floats(1e-7, 1.0)
ROUNDS = st.integers(1, 200)
SCHEDULES: list[Schedule] = ["exponential", "linear"]


@given(rho=RHO, rounds=ROUNDS)
def test_exponential_is_rho_to_the_share_of_rounds(rho: float, rounds: int) -> None:
    falling = densities("exponential", rho, rounds)
    assert falling == pytest.approx([rho ** (t / rounds) for t in range(1, rounds + 1)])


@given(rho=RHO, rounds=ROUNDS)
def test_linear_falls_by_equal_steps(rho: float, rounds: int) -> None:
    falling = densities("linear", rho, rounds)
    assert falling == pytest.approx([1 - (1 - rho) * t / rounds for t in range(1, rounds + 1)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(rho=RHO, rounds=ROUNDS)
def test_every_schedule_falls_and_ends_exactly(rho: float, rounds: int, schedule: Schedule) -> None:
    falling = densities(schedule, rho, rounds)
    assert len(falling) == rounds
    assert falling[-1] == rho
    assert all(later <= earlier + 1e-15 for earlier, later in zip([1.0, *falling], falling, strict=False))


def test_one_round_goes_straight_to_the_density() -> None:
    assert densities("exponential", 0.01, 1) == densities("linear", 0.01, 1) == [0.01]


@given(rho=RHO, rounds=ROUNDS, levels=st.integers(1, 6))
def test_exponential_rounds_of_exponential_levels_fall_as_all_rounds_together(
    rho: float, rounds: int, levels: int
) -> None:
    ends = [1.0, *densities("exponential", rho, levels)]
    falling = [
        value for start, end in pairwise(ends) for value in densities("exponential", end, rounds, start)
    ]
    assert falling == pytest.approx(densities("exponential", rho, levels * rounds))


@given(start=st.floats(0.1, 1.0), share=st.floats(0.01, 1.0), rounds=ROUNDS)
def test_linear_rounds_fall_by_equal_steps_from_where_they_start(
    start: float, share: float, rounds: int
) -> None:
    falling = densities("linear", start * share, rounds, start)
    step = start * (1 - share) / rounds
    assert falling == pytest.approx([start - step * t for t in range(1, rounds + 1)])
