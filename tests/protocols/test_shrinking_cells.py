"""Cells whose networks are trained without what nothing reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from synflow_bench.protocols import Bench, _singleshot, _stages, run_cell
from synflow_bench.protocols._network import Network
from synflow_bench.records import Record
from synflow_bench.shrinking import SHRINK_VARIABLE
from synflow_bench.suites import Cell, Multishot

MakeCell = Callable[..., Cell]


def ok(record: Record) -> Record:
    assert record.error is None, record.error
    return record


@pytest.mark.parametrize(
    "recipe",
    [
        {"lr": 0.01},
        {"optimizer": "momentum", "lr": 0.2, "momentum": 0.9, "weight_decay": 5e-4, "gradient_clip": 1.0},
    ],
    ids=["adam", "momentum"],
)
def test_a_shrunk_cell_gives_what_the_whole_one_does(
    bench: Bench, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, recipe: dict[str, Any]
) -> None:
    cell = make_cell("synflow[rounds=10]", 50.0, model="conv", recipe=recipe)
    shrunk = ok(run_cell(cell, bench))
    monkeypatch.setenv(SHRINK_VARIABLE, "0")
    whole = ok(run_cell(cell, bench))
    assert (shrunk.provenance.engine, whole.provenance.engine) == ("shrunk", "eager")
    assert shrunk.masks == whole.masks
    assert shrunk.layers == whole.layers
    assert shrunk.key == whole.key
    first, reference = shrunk.curve[0], whole.curve[0]
    assert first.test_top1 == reference.test_top1
    assert first.test_loss == pytest.approx(reference.test_loss, rel=1e-5)
    assert whole.curve[-1].test_top1 > 0.6
    for ours, theirs in zip(shrunk.curve, whole.curve, strict=True):
        assert ours.test_top1 == pytest.approx(theirs.test_top1, abs=0.005)
        assert ours.test_loss == pytest.approx(theirs.test_loss, rel=1e-4)


def test_the_network_is_whole_again_after_its_training(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[Network] = []
    monkeypatch.setattr(
        _singleshot, "network_of", lambda *of: built.append(_stages.network_of(*of)) or built[-1]
    )
    record = ok(run_cell(make_cell("synflow[rounds=10]", 200.0, model="conv"), bench))
    (training,) = seen
    small, whole = training["final_weights"]["conv2.weight"], built[0].model.conv2.weight
    assert max(small.shape[:2]) < 32
    assert whole.shape == (32, 32, 3, 3)
    assert torch.isin(small, whole).all()
    (conv2,) = (layer for layer in record.layers if layer.name == "conv2.weight")
    assert int(whole.count_nonzero()) == conv2.kept


@pytest.mark.slow
def test_a_shrunk_cell_that_is_compiled_gives_what_the_plain_one_does(
    bench: Bench, make_cell: MakeCell
) -> None:
    how = {"lr": 0.01, "epochs": 1}
    plain, compiled = (
        ok(run_cell(make_cell("synflow[rounds=10]", 50.0, model="conv", recipe=each), bench))
        for each in (how, {**how, "compile": "yes"})
    )
    assert plain.provenance.engine == compiled.provenance.engine == "shrunk"
    assert plain.masks == compiled.masks
    assert plain.key != compiled.key
    assert compiled.curve[-1].test_loss == pytest.approx(plain.curve[-1].test_loss, rel=1e-3)


def test_cuda_graphs_without_a_cuda_device_fail_the_cell_in_one_line(
    bench: Bench, make_cell: MakeCell
) -> None:
    error = run_cell(make_cell("dense", 1.0, recipe={"compile": "cuda-graphs"}), bench).error
    assert error is not None
    assert (error.kind, error.traceback) == ("SuiteError", None)
    assert error.message.startswith("compile 'cuda-graphs' has no effect on device 'cpu'")


def test_dense_networks_are_not_shrunk(bench: Bench, make_cell: MakeCell) -> None:
    assert ok(run_cell(make_cell("dense", 1.0, model="conv"), bench)).provenance.engine == "eager"


def test_stacked_networks_are_not_shrunk(bench: Bench, make_cell: MakeCell) -> None:
    assert ok(run_cell(make_cell("synflow[rounds=10]", 100.0), bench)).provenance.engine == "stacked"


def test_levels_are_trained_whole_since_they_prune_again_by_what_was_learnt(
    bench: Bench, make_cell: MakeCell, seen: list[dict[str, Any]]
) -> None:
    cell = make_cell("magnitude", 200.0, model="conv", protocol=Multishot(levels=2))
    assert ok(run_cell(cell, bench)).provenance.engine == "eager"
    assert all(call["weights"]["conv2.weight"].shape == (32, 32, 3, 3) for call in seen)
