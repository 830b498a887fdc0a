"""A setting of digits, a bench with no data folder, and a torch that is left as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from synflow_bench.execution import make_bench
from synflow_bench.protocols import Bench
from synflow_bench.speed import Speed, Workload
from synflow_bench.suites import Setting

MakeSetting = Callable[..., Setting]


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was: None) -> None:
    """Every test here may set threads."""


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path / "nothing", "cpu", 1)


@pytest.fixture
def make_setting() -> MakeSetting:
    def make(dataset: str = "digits", model: str = "fc", **recipe: object) -> Setting:
        plain = {"epochs": 5, "optimizer": "adam", "lr": 1e-3, "batch_size": 64}
        return Setting.model_validate({"dataset": dataset, "model": model, "recipe": {**plain, **recipe}})

    return make


@pytest.fixture
def make_speed(bench: Bench, make_setting: MakeSetting) -> Callable[..., Speed]:
    def make(**changes: object) -> Speed:
        fields = {
            "workload": Workload.of(make_setting(), bench.host.datasets.get("digits")),
            "training": {1: 1000.0, 8: 4000.0},
            "evaluation": 10_000.0,
            "pruning": {"random": 1.0, "synflow": 5.0},
            "setup_seconds": 0.25,
            "memory_bytes": 2**20,
            "measured": "2000-01-01",
        }
        return Speed.model_validate({**fields, **changes})

    return make
