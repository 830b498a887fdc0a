"""Studies of small networks, on one thread."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from synflow_bench.execution import resolve_pruners
from synflow_bench.host import Host
from synflow_bench.protocols import WorkerContext
from synflow_bench.suites import PrunerSpec, Setting
from synflow_bench_studies.catalogue import find_study
from synflow_bench_studies.request import Input, Request
from synflow_bench_studies.table import Row

Study = Callable[..., list[Row]]


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Compute on one thread, which is faster for networks of this size."""


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., Request]:
    """A factory of requests: `request_of("fc", "synflow", shape=(1, 8, 8))`, or `dataset="digits"`."""

    def request_of(
        model: str,
        *pruners: str,
        dataset: str = "none",
        shape: tuple[int, int, int] | None = None,
        classes: int = 10,
        options: dict[str, Any] | None = None,
        epochs: int = 0,
        **rest: Any,
    ) -> Request:
        host = Host.load()
        recipe = {"epochs": epochs, "optimizer": "adam", "lr": 1e-3, "batch_size": 64}
        data = {"dataset": dataset, "model": model, "recipe": recipe, "pruning": options or {}}
        specs = resolve_pruners([PrunerSpec.model_validate(name) for name in pruners], host)
        context = WorkerContext(host, tmp_path, torch.device("cpu"), threads=1)
        without_data = Input(shape, classes) if shape else None
        return Request(context, [Setting.model_validate(data)], specs, input=without_data, **rest)

    return request_of


@pytest.fixture
def study(request_of: Callable[..., Request]) -> Study:
    """A factory of the rows of a study: `study("cut-ratio", "fc", "synflow", shape=(1, 8, 8))`."""

    def study(name: str, *arguments: str, **options: Any) -> list[Row]:
        return list(find_study(name).rows(request_of(*arguments, **options)))

    return study
