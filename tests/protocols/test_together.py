"""Cells that are run together give what each alone gives."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from synflow_bench.protocols import Bench, may_share, run_cell, run_cells
from synflow_bench.protocols import _run as running
from synflow_bench.records import Epoch
from synflow_bench.suites import Cell, Multishot

MakeCell = Callable[..., Cell]


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


def test_records_of_cells_run_together_are_those_of_each_alone(bench: Bench, make_cell: MakeCell) -> None:
    cells = varied(make_cell)
    assert may_share(cells[0], bench)
    together = run_cells(cells, bench, lambda *_: None)
    assert [record.status for record in together] == ["ok"] * len(cells)
    assert [record.result for record in together] == [run_cell(cell, bench).result for cell in cells]


def test_neighbours_do_not_matter(bench: Bench, make_cell: MakeCell) -> None:
    cells = varied(make_cell)
    forward, backward = (run_cells(order, bench, lambda *_: None) for order in (cells[:4], cells[3::-1]))
    assert [record.result for record in forward] == [record.result for record in reversed(backward)]


def test_levels_are_trained_together_too(bench: Bench, make_cell: MakeCell) -> None:
    cells = [make_cell(seed=seed, protocol=Multishot(levels=2)) for seed in range(3)]
    together = run_cells(cells, bench, lambda *_: None)
    assert [record.result for record in together] == [run_cell(cell, bench).result for cell in cells]
    assert len(together[0].levels) == 3


def test_a_cell_that_fails_costs_itself_only(bench: Bench, make_cell: MakeCell) -> None:
    cells = [make_cell("magnitude", 5.0), make_cell("magnitude", 1e9), make_cell("random", 5.0)]
    records = run_cells(cells, bench, lambda *_: None)
    assert [record.status for record in records] == ["ok", "failed", "ok"]
    assert records[2].result == run_cell(cells[2], bench).result


def test_where_a_training_together_fails_each_cell_is_run_by_itself(
    bench: Bench, make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, sizes = running.train_together, []

    def fragile(trainings: list[object]) -> object:
        sizes.append(len(trainings))
        if len(trainings) > 1:
            raise MemoryError("too many")
        return original(trainings)

    monkeypatch.setattr(running, "train_together", fragile)
    cells = [make_cell(seed=seed) for seed in range(3)]
    assert [record.status for record in run_cells(cells, bench, lambda *_: None)] == ["ok"] * 3
    assert sizes == [3, 1, 1, 1]


def test_every_epoch_is_told_with_its_cell(bench: Bench, make_cell: MakeCell) -> None:
    heard: list[tuple[Cell, Epoch]] = []
    cells = [make_cell(seed=seed, recipe={"epochs": 2}) for seed in range(2)]
    records = run_cells(cells, bench, lambda cell, epoch: heard.append((cell, epoch)))
    for cell, record in zip(cells, records, strict=True):
        assert tuple(epoch for its, epoch in heard if its == cell) == record.curve


def test_seconds_are_shared_out(bench: Bench, make_cell: MakeCell) -> None:
    records = run_cells([make_cell(seed=seed) for seed in range(3)], bench, lambda *_: None)
    timings = [record.timing for record in records if record.timing]
    assert len({timing.train_seconds for timing in timings}) == 1
    assert all(0 < timing.train_seconds <= timing.total_seconds for timing in timings)


@pytest.mark.parametrize("fields", [{"model": "conv"}, {"model": "nothing"}, {"dataset": "mnist"}])
def test_other_networks_and_faulty_cells_are_run_alone(
    bench: Bench, make_cell: MakeCell, fields: dict[str, str]
) -> None:
    assert not may_share(make_cell(**fields), bench)
