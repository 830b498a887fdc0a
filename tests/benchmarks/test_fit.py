"""The fitted power law."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scaling.fit import fit_power_law
from scipy.stats import linregress

XS = [1.0, 3.0, 10.0, 30.0, 100.0]


@given(st.floats(1e-3, 1e3), st.floats(-2, 2).filter(lambda slope: abs(slope) > 1e-3))
def test_a_power_law_is_found_again(factor: float, slope: float) -> None:
    law = fit_power_law(XS, [factor * x**slope for x in XS])
    assert (law.factor, law.slope) == (pytest.approx(factor), pytest.approx(slope))
    assert law.error == pytest.approx(0, abs=1e-6)
    assert law.r2 == pytest.approx(1)
    assert law(7.0) == pytest.approx(factor * 7.0**slope)


@given(st.lists(st.floats(0.1, 10), min_size=5, max_size=5, unique=True))
def test_slope_and_error_are_those_of_a_regression_of_logarithms(ys: list[float]) -> None:
    law = fit_power_law(XS, ys)
    known = linregress([math.log(x) for x in XS], [math.log(y) for y in ys])
    assert law.slope == pytest.approx(known.slope, abs=1e-9)
    assert law.error == pytest.approx(known.stderr, abs=1e-9)
    assert law.r2 == pytest.approx(known.rvalue**2, abs=1e-9)


@pytest.mark.parametrize("ys", [[1.0, 2.0], [1.0, 0.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
def test_what_cannot_be_fitted_is_refused(ys: list[float]) -> None:
    with pytest.raises(ValueError, match="three points"):
        fit_power_law([1.0, 2.0, 3.0], ys)
