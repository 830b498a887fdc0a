"""Cells in, records out: failures become records, and batched cells get what each gets alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from synflow_bench.data import Split, Splits
from synflow_bench.host import Host
from synflow_bench.protocols import PROTOCOLS, WorkerContext, may_batch, protocol, run_cell, run_cells
from synflow_bench.pruning import Problem, Pruner
from synflow_bench.records import Epoch
from synflow_bench.suites import Cell, Multishot
from synflow_bench.training import BatchedStep, TrainingStep
from synflow_bench.training.batched import LEAST

MakeCell = Callable[..., Cell]


@pytest.mark.parametrize(
    ("fields", "kind", "says"),
    [
        ({"pruner": "synflw"}, "UnknownNameError", "unknown pruner 'synflw'; did you mean 'synflow'?"),
        ({"model": "lottery/vgg16"}, "ModelError", "8x8"),
        ({"compression": 1e9}, "UsageError", "leaves none of 47400 weights; the largest possible is 47400"),
        ({"pruner": "synflow[round=3]"}, "UnknownNameError", "did you mean 'rounds'?"),
        ({"pruner": "synflow[rounds=0]"}, "UsageError", "rounds must be at least 1"),
    ],
)
def test_a_failure_names_its_cause_in_one_line_without_a_traceback(
    context: WorkerContext, make_cell: MakeCell, fields: dict[str, object], kind: str, says: str
) -> None:
    record = run_cell(make_cell(**fields), context)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.kind == kind
    assert says in record.error.message
    assert "\n" not in record.error.message
    assert record.error.traceback is None


def test_a_fault_of_the_code_keeps_its_traceback(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setitem(PROTOCOLS, "singleshot", broken)
    record = run_cell(make_cell(), context)
    assert record.error is not None
    assert record.error.kind == "ZeroDivisionError"
    assert "in broken" in (record.error.traceback or "")


def test_a_plugin_that_exits_ends_its_cell_only(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setitem(PROTOCOLS, "singleshot", leaves)
    record = run_cell(make_cell(), context)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.kind == "SystemExit"


def test_a_missing_dataset_skips_the_cell_and_says_what_fetches_it(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    context = WorkerContext(Host.load(), tmp_path, torch.device("cpu"), threads=1)
    record = run_cell(make_cell(dataset="cifar10"), context)
    assert record.status == "skipped"
    assert record.error is not None
    assert record.error.message.startswith(f"dataset 'cifar10' is not in {tmp_path}; ")
    assert record.error.message.endswith(f"synflow-bench data download cifar10 --data {tmp_path}")


def test_a_method_that_is_not_defined_skips_the_cell_and_gives_the_reason(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    record = run_cell(make_cell("smart-ratio"), context)
    assert record.status == "skipped"
    assert record.error is not None
    assert record.error.not_defined
    assert record.error.message.startswith("not defined here: smart-ratio needs convolutions")
    assert record.error.traceback is None


def test_what_a_dataset_loads_wrongly_names_it_as_the_user_did(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    host = Host.load()
    monkeypatch.setattr(host.datasets.get("digits"), "load", lambda *_: Splits(split, split))
    record = run_cell(make_cell(), WorkerContext(host, tmp_path, torch.device("cpu"), threads=1))
    assert record.error is not None
    assert record.error.message.startswith("dataset 'digits' of synflow-bench ")
    assert "float32" in record.error.message
    assert "uint8" in record.error.message


def test_an_unknown_option_of_a_model_is_named(context: WorkerContext, make_cell: MakeCell) -> None:
    cell = make_cell()
    model = cell.setting.model.model_copy(update={"options": {"width": 3}})
    wrong = cell.model_copy(update={"setting": cell.setting.model_copy(update={"model": model})})
    record = run_cell(wrong, context)
    assert record.error is not None
    assert "unknown option of model 'fc': 'width'" in record.error.message


def varied(make_cell: MakeCell) -> list[Cell]:
    """Cells of one setting: pruners, compressions, seeds and ablations differ."""
    return [
        make_cell("magnitude", 5.0),
        make_cell("synflow[rounds=3]", 50.0, seed=1),
        make_cell("snip", 10.0, seed=2),
        make_cell("dense", 1.0),
        make_cell("random", 2.0, ablation="shuffle"),
        make_cell("magnitude", 5.0, ablation="reinit"),
    ]


def test_records_of_cells_in_one_batch_are_those_of_each_alone(
    context: WorkerContext, make_cell: MakeCell
) -> None:
    cells = varied(make_cell)
    assert may_batch(cells[0], context)
    batched = run_cells(cells, context, lambda *_: None)
    assert [record.status for record in batched] == ["ok"] * len(cells)
    assert [record.result for record in batched] == [run_cell(cell, context).result for cell in cells]


def test_other_cells_of_the_batch_do_not_matter(context: WorkerContext, make_cell: MakeCell) -> None:
    cells = varied(make_cell)
    forward, backward = (run_cells(order, context, lambda *_: None) for order in (cells[:4], cells[3::-1]))
    assert [record.result for record in forward] == [record.result for record in reversed(backward)]


def test_levels_are_batched_too(context: WorkerContext, make_cell: MakeCell) -> None:
    cells = [make_cell(seed=seed, protocol=Multishot(levels=2)) for seed in range(3)]
    batched = run_cells(cells, context, lambda *_: None)
    assert [record.result for record in batched] == [run_cell(cell, context).result for cell in cells]
    assert len(batched[0].levels) == 3


def test_a_cell_that_fails_costs_itself_only(context: WorkerContext, make_cell: MakeCell) -> None:
    cells = [make_cell("magnitude", 5.0), make_cell("magnitude", 1e9), make_cell("random", 5.0)]
    records = run_cells(cells, context, lambda *_: None)
    assert [record.status for record in records] == ["ok", "failed", "ok"]
    assert records[2].result == run_cell(cells[2], context).result


def test_where_training_a_batch_fails_each_cell_is_run_by_itself(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, sizes = protocol.train_batch, []

    def fragile(trainings: list[object], keeper: object) -> object:
        sizes.append(len(trainings))
        if len(trainings) > 1:
            raise MemoryError("too many")
        return original(trainings, keeper)

    monkeypatch.setattr(protocol, "train_batch", fragile)
    cells = [make_cell(seed=seed) for seed in range(3)]
    assert [record.status for record in run_cells(cells, context, lambda *_: None)] == ["ok"] * 3
    assert sizes == [3, 1, 1, 1]


@pytest.mark.parametrize("count", [1, 3])
def test_without_memory_for_a_filled_batch_cells_are_trained_by_the_ordinary_step(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """On a GPU a batch of one cell is as large as one of 32."""
    monkeypatch.setitem(LEAST, "cpu", 4)
    tried = []

    def full(step: BatchedStep, _: object) -> object:
        tried.append(step)
        raise torch.OutOfMemoryError("no memory is left")

    monkeypatch.setattr(BatchedStep, "__call__", full)
    cells = [make_cell(seed=seed) for seed in range(count)]
    records = run_cells(cells, context, lambda *_: None)
    assert [(record.status, record.provenance.engine) for record in records] == [("ok", "eager")] * count
    assert len(tried) == 1
    alone = replace(context, alone=True)
    assert [record.result for record in records] == [run_cell(cell, alone).result for cell in cells]


def test_a_cell_without_memory_for_the_ordinary_step_fails(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEAST, "cpu", 4)
    tried = []

    def full(step: BatchedStep | TrainingStep, _: object) -> object:
        tried.append(type(step))
        raise torch.OutOfMemoryError("no memory is left")

    for step in (BatchedStep, TrainingStep):
        monkeypatch.setattr(step, "__call__", full)
    record = run_cell(make_cell(), context)
    assert record.error is not None
    assert record.error.kind == "OutOfMemoryError"
    assert tried == [BatchedStep, TrainingStep]


def test_cells_that_are_trained_alone_are_in_no_batch(context: WorkerContext, make_cell: MakeCell) -> None:
    alone = replace(context, alone=True, batchable={})
    assert not may_batch(make_cell(), alone)
    levels = make_cell(protocol=Multishot(levels=1))
    assert [run_cell(cell, alone).provenance.engine for cell in (make_cell(), levels)] == ["eager"] * 2


def test_every_epoch_is_reported_with_its_cell(context: WorkerContext, make_cell: MakeCell) -> None:
    reported: list[tuple[Cell, Epoch]] = []
    cells = [make_cell(seed=seed, recipe={"epochs": 2}) for seed in range(2)]
    records = run_cells(cells, context, lambda cell, epoch: reported.append((cell, epoch)))
    for cell, record in zip(cells, records, strict=True):
        assert tuple(epoch for its, epoch in reported if its == cell) == record.curve


def test_seconds_are_shared_out(context: WorkerContext, make_cell: MakeCell) -> None:
    records = run_cells([make_cell(seed=seed) for seed in range(3)], context, lambda *_: None)
    timings = [record.timing for record in records if record.timing]
    assert len({timing.train_seconds for timing in timings}) == 1
    assert all(0 < timing.train_seconds <= timing.total_seconds for timing in timings)


@pytest.mark.parametrize("fields", [{"model": "conv"}, {"model": "nothing"}, {"dataset": "mnist"}])
def test_other_networks_and_invalid_cells_are_run_alone(
    context: WorkerContext, make_cell: MakeCell, fields: dict[str, str]
) -> None:
    assert not may_batch(make_cell(**fields), context)


def test_memory_that_is_missing_once_is_no_answer_for_later_cells(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> bool:
        raise torch.OutOfMemoryError("no memory is left")

    cell = make_cell(recipe={"weight_decay": 1e-6})
    with monkeypatch.context() as patched:
        patched.setattr(protocol, "can_batch", full)
        assert not may_batch(cell, context)
    assert may_batch(cell, context)


def test_warnings_of_a_pruning_are_in_the_provenance_of_its_record_alone(
    context: WorkerContext, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = run_cell(make_cell("magnitude", 5.0), context)
    assert "warnings" not in json.loads(plain.to_json())["provenance"]

    class Warns(Pruner):
        needs_data = False

        def score(self, problem: Problem) -> dict[str, torch.Tensor]:
            problem.warn("layer 'x' has no score")
            return {name: weight.abs() for name, weight in problem.parameters.items()}

    cell = make_cell("magnitude", 5.0)
    monkeypatch.setattr("synflow_bench.protocols.context.resolve_pruner", lambda *_: (Warns(), cell.pruner))
    warned = run_cell(cell, context)
    assert json.loads(warned.to_json())["provenance"]["warnings"] == ["layer 'x' has no score"]
    assert warned.result == plain.result
