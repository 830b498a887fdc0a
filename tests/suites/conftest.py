"""A suite and a cell to vary."""

from __future__ import annotations

import pytest

from synflow_bench.suites import Cell, Recipe, Setting, Suite

TWO_SETTINGS = {
    "name": "two",
    "compressions": [1, 10],
    "seeds": 2,
    "settings": [
        {"dataset": "digits", "model": "fc", "recipe": {"epochs": 5, "optimizer": "adam", "lr": 0.001}},
        {"dataset": "mnist", "model": "conv", "recipe": {"epochs": 7, "optimizer": "sgd"}},
    ],
}


@pytest.fixture
def suite() -> Suite:
    """Digits with `fc`, and MNIST with `conv`."""
    return Suite.model_validate(TWO_SETTINGS)


@pytest.fixture
def cell() -> Cell:
    """SNIP at compression 10."""
    setting = Setting.model_validate({"dataset": "digits", "model": "fc", "recipe": Recipe(epochs=5)})
    return Cell.model_validate({"setting": setting, "pruner": "snip", "compression": 10, "seed": 0})
