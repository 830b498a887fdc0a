"""Where time goes: nested timers, and the stages they are put around."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from synflow_bench.errors import HandledError
from synflow_bench.profiling import STAGES, START, Stopwatch, Task, profile_cells, watched
from synflow_bench.profiling._run import run_timed
from synflow_bench.profiling._stages import _target
from synflow_bench.suites import Cell, PrunerSpec, Setting


def ticking() -> Stopwatch:
    """One whose clock goes on by a second whenever it is read."""
    ticks = count()
    return Stopwatch(clock=lambda: float(next(ticks)))


def test_the_time_of_a_stage_is_without_that_of_stages_inside_it() -> None:
    stopwatch = ticking()
    inner = stopwatch.timed("inner", lambda: None)
    stopwatch.timed("outer", lambda: [inner(), inner()])()
    assert stopwatch.seconds == {"outer": 5 - 2, "inner": 2}
    assert stopwatch.calls == {"outer": 1, "inner": 2}


def test_a_stage_inside_itself_counts_once() -> None:
    stopwatch = ticking()
    again = stopwatch.timed("again", lambda: None)
    stopwatch.timed("again", again)()
    assert stopwatch.seconds == {"again": 3}


def test_a_stage_that_belongs_to_another_counts_only_there() -> None:
    stopwatch = ticking()
    part = stopwatch.timed("part", lambda: None, inside="whole")
    part()
    assert not stopwatch.calls
    stopwatch.timed("whole", part)()
    assert stopwatch.seconds == {"whole": 2, "part": 1}


def test_what_raises_is_timed_too() -> None:
    stopwatch = ticking()
    with pytest.raises(ZeroDivisionError):
        stopwatch.timed("fails", lambda: 1 / 0)()
    assert stopwatch.seconds == {"fails": 1}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_stage_is_there(stage: object) -> None:
    for place in stage.functions:  # type: ignore[attr-defined]
        owner, name = _target(place)
        assert callable(getattr(owner, name))


def test_the_harness_is_left_as_it_was() -> None:
    before = [getattr(*_target(place)) for stage in STAGES for place in stage.functions]
    with watched(Stopwatch()):
        pass
    assert [getattr(*_target(place)) for stage in STAGES for place in stage.functions] == before


def test_a_cell_passes_through_its_stages_as_often_as_its_epochs_say(
    make_setting: Callable[..., Setting], tmp_path: Path
) -> None:
    pruner = PrunerSpec(name="synflow", parameters={"rounds": 5, "schedule": "exponential"}, label="s")
    cell = Cell(setting=make_setting(epochs=2), pruner=pruner, compression=10, seed=0)
    stopwatch = Stopwatch()
    (record,) = run_timed(Task([cell], tmp_path, "cpu", 1), stopwatch)
    assert record.status == "ok"
    steps = 2 * 21  # 1,294 examples in batches of 64
    assert stopwatch.calls["training: forward, loss"] == stopwatch.calls["training: backward"] == steps
    assert stopwatch.calls["training: optimizer"] == steps
    assert stopwatch.calls["evaluation"] == 6  # of two splits, before training and after two epochs
    assert stopwatch.calls["pruning: scores"] == stopwatch.calls["pruning: selection"] == 5
    assert stopwatch.calls["record: write"] == 1
    assert all(seconds >= 0 for seconds in stopwatch.seconds.values())


@pytest.mark.slow
def test_the_stages_of_a_fresh_process_make_up_its_time(
    make_setting: Callable[..., Setting], tmp_path: Path
) -> None:
    pruner = PrunerSpec(name="random", label="random")
    cells = [
        Cell(setting=make_setting(epochs=2), pruner=pruner, compression=10, seed=seed) for seed in range(3)
    ]
    profile = profile_cells(Task(cells, tmp_path, "cpu", 1))
    assert profile.rows[0].stage == START
    assert 0.9 * profile.total < profile.sum <= profile.total
    assert (profile.cells, profile.engine) == (3, "stacked")


@pytest.mark.slow
def test_a_cell_that_fails_is_one_line(make_setting: Callable[..., Setting], tmp_path: Path) -> None:
    setting = make_setting(model="lottery/vgg16")
    cell = Cell(setting=setting, pruner=PrunerSpec(name="random", label="random"), compression=10, seed=0)
    with pytest.raises(HandledError, match="cannot be profiled: input 1x8x8 is too small"):
        profile_cells(Task([cell], tmp_path, "cpu", 1))
