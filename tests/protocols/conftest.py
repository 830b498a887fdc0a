"""A context with the embedded dataset, and small cells to run on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from synflow_bench.host import Host
from synflow_bench.protocols import WorkerContext, protocol
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import SnapshotKeeper, Trained, Training

MakeCell = Callable[..., Cell]


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> WorkerContext:
    return WorkerContext(Host.load(), Path(tmp_path_factory.mktemp("data")), torch.device("cpu"), threads=1)


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


@pytest.fixture(scope="session")
def make_cell() -> MakeCell:
    """A factory of digits cells: `make_cell("snip", 10, seed=0, recipe={...}, ablation="shuffle")`."""

    def make(
        pruner: str = "magnitude",
        compression: float = 5.0,
        *,
        seed: int = 0,
        model: str = "fc",
        dataset: str = "digits",
        recipe: dict[str, Any] | None = None,
        ablation: str = "none",
        **setting: Any,
    ) -> Cell:
        chosen = {"epochs": 1, "optimizer": "adam", "lr": 1e-3, "batch_size": 64, **(recipe or {})}
        spec = ModelSpec.model_validate(model)
        return Cell(
            setting=Setting(dataset=dataset, model=spec, recipe=Recipe(**chosen), **setting),
            pruner=PrunerSpec.model_validate(pruner),
            compression=compression,
            seed=seed,
            ablation=ablation,
        )

    return make


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every training starts from, weights, masks, recipe and batches, and what it ends with."""
    calls: list[dict[str, Any]] = []
    original = protocol.train_batch

    def spy(trainings: Sequence[Training], keeper: SnapshotKeeper | None = None) -> list[Trained]:
        (training,) = trainings
        state = _copied(training.model, "weights", "buffers")
        calls.append({**vars(training), **state, "order": training.streams.data.get_state()})
        trained = original(trainings, keeper)
        state = _copied(training.model, "final_weights", "final_buffers")
        calls[-1] |= {"trained": trained[0], **state}
        return trained

    monkeypatch.setattr(protocol, "train_batch", spy)
    return calls


def _copied(model: Any, weights: str, buffers: str) -> dict[str, Any]:
    named = {weights: model.named_parameters(), buffers: model.named_buffers()}
    return {what: {name: t.detach().clone() for name, t in tensors} for what, tensors in named.items()}
