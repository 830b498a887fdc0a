"""The comparison of precisions against a paired interval by hand."""

from __future__ import annotations

from typing import Any

import pytest
from compare_precision import interval, line, runs

from synflow_bench.suites import ModelSpec, Recipe, Setting


def setting(precision: str, lr: float = 1e-3) -> Setting:
    recipe = Recipe(epochs=1, optimizer="adam", lr=lr, precision=precision)
    return Setting(dataset="digits", model=ModelSpec(name="conv"), recipe=recipe)


def test_a_difference_is_paired_by_seed(make_record: Any) -> None:
    full, half = (0.80, 0.85, 0.90), (0.81, 0.86, 0.91)
    records = [
        make_record("snip", 10, seed=seed, top1=top1, setting=setting(precision))
        for precision, values in (("fp32", full), ("bf16", half))
        for seed, top1 in enumerate(values)
    ]
    records.append(make_record("snip", 10, seed=3, top1=0.1, setting=setting("fp32")))
    records.append(make_record("snip", 10, seed=0, top1=0.1, setting=setting("bf16", lr=1e-2)))
    alike, other = runs(iter(records)).values()
    both = alike["snip", 10.0]
    assert other["snip", 10.0].keys() == {"bf16"}
    assert line(("snip", 10.0), both["fp32"], both["bf16"]) == [
        *("snip", "10", "85.0 ±12.4", "86.0 ±12.4", "1.0 ±0.0", "1.0", "1.0")
    ]


def test_an_interval_is_that_of_student() -> None:
    """4.303 is the two-sided 95 % quantile for two degrees of freedom."""
    mean, half = map(float, interval([80.0, 85.0, 90.0]).split(" ±"))
    assert (mean, half) == (85.0, pytest.approx(4.303 * 5 / 3**0.5, abs=0.05))
