"""A setting of digits, and a torch that is left as it was."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synflow_bench.suites import Setting


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was: None) -> None:
    """Every test here may set threads."""


@pytest.fixture
def make_setting() -> Callable[..., Setting]:
    def make(model: str = "fc", **recipe: object) -> Setting:
        plain = {"epochs": 5, "optimizer": "adam", "lr": 1e-3, "batch_size": 64}
        return Setting.model_validate({"dataset": "digits", "model": model, "recipe": {**plain, **recipe}})

    return make
