"""What goes wrong in a cell becomes its record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from synflow_bench.data import Split, Splits
from synflow_bench.host import Host
from synflow_bench.protocols import Bench, run_cell
from synflow_bench.suites import Cell

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
    bench: Bench, make_cell: MakeCell, fields: dict[str, object], kind: str, says: str
) -> None:
    record = run_cell(make_cell(**fields), bench)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.kind == kind
    assert says in record.error.message
    assert "\n" not in record.error.message
    assert record.error.traceback is None


def test_a_fault_of_the_code_keeps_its_traceback(
    bench: Bench, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no such thing")

    monkeypatch.setattr("synflow_bench.protocols._run.singleshot", broken)
    record = run_cell(make_cell(), bench)
    assert record.error is not None
    assert record.error.kind == "ZeroDivisionError"
    assert "in broken" in (record.error.traceback or "")


def test_a_plugin_that_exits_ends_its_cell_only(
    bench: Bench, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaves(*_: object) -> None:
        raise SystemExit(3)

    monkeypatch.setattr("synflow_bench.protocols._run.singleshot", leaves)
    record = run_cell(make_cell(), bench)
    assert record.status == "failed"
    assert record.error is not None
    assert record.error.kind == "SystemExit"


def test_a_missing_data_set_skips_the_cell_and_says_what_fetches_it(
    make_cell: MakeCell, tmp_path: Path
) -> None:
    bench = Bench(Host.load(), tmp_path, torch.device("cpu"), threads=1)
    record = run_cell(make_cell(dataset="cifar10"), bench)
    assert record.status == "skipped"
    assert record.error is not None
    assert record.error.message == (
        f"data set 'cifar10' is not in {tmp_path}; "
        f"fetch it with: synflow-bench data download cifar10 --data {tmp_path}"
    )


def test_what_a_data_set_loads_wrongly_names_it_as_the_user_did(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    host = Host.load()
    monkeypatch.setattr(host.datasets.get("digits"), "load", lambda *_: Splits(split, split))
    record = run_cell(make_cell(), Bench(host, tmp_path, torch.device("cpu"), threads=1))
    assert record.error is not None
    assert record.error.message == (
        "data set 'digits': it loads torch.float32 images of shape (1, 8, 8); it declares uint8 of (1, 8, 8)"
    )


def test_an_unknown_option_of_a_model_is_named(bench: Bench, make_cell: MakeCell) -> None:
    cell = make_cell()
    model = cell.setting.model.model_copy(update={"options": {"width": 3}})
    wrong = cell.model_copy(update={"setting": cell.setting.model_copy(update={"model": model})})
    record = run_cell(wrong, bench)
    assert record.error is not None
    assert "unknown option of model 'fc': 'width'" in record.error.message
