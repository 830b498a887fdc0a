"""What a run shows while it runs: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from synflow_bench.cli import _progress
from synflow_bench.cli._durations import clock
from synflow_bench.cli._progress import Progress
from synflow_bench.execution import Plan
from synflow_bench.records import Record

MakeRecord = Callable[..., Record]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Clock:
    watch = Clock()
    monkeypatch.setattr(_progress, "time", watch)
    return watch


def progress_of(records: list[Record], stream: io.StringIO) -> Progress:
    cells = [record.cell for record in records]
    return Progress(Plan(cells, missing=cells), stream)


def test_without_a_terminal_it_writes_a_line_now_and_then_and_at_the_end(
    make_record: MakeRecord, watch: Clock
) -> None:
    records = [make_record(seed=seed) for seed in range(4)]
    stream = io.StringIO()
    with progress_of(records, stream) as progress:
        for record, seconds in zip(records, (11, 2, 9, 4), strict=True):
            watch.now += seconds
            progress.cell_finished(record)
    assert stream.getvalue().splitlines() == [
        "1/4 cells, 0 failed, about 0:33 left",
        "3/4 cells, 0 failed, about 0:07 left",
        "4/4 cells, 0 failed, took 0:26",
    ]


def test_the_time_left_does_not_count_how_long_workers_take_to_start(
    make_record: MakeRecord, watch: Clock
) -> None:
    records = [make_record(seed=seed) for seed in range(12)]
    stream = io.StringIO()
    with progress_of(records, stream) as progress:
        watch.now += 300
        for record in records[:11]:
            progress.epoch_finished(record.cell, record.curve[0])
            watch.now += 3
            progress.cell_finished(record)
    assert stream.getvalue().splitlines()[-1] == "9/12 cells, 0 failed, about 0:09 left"


def test_a_failure_is_told_at_once_with_its_cell(make_record: MakeRecord, watch: Clock) -> None:
    records = [make_record(status="failed", message="no [b]luck[/b]"), make_record(seed=1)]
    stream = io.StringIO()
    with progress_of(records, stream) as progress:
        progress.cell_finished(records[0])
    assert stream.getvalue() == "failed: digits / fc / snip / compression 10 / seed 0: no [b]luck[/b]\n"


def shown(stream: io.StringIO) -> str:
    """What was written, without the codes of colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def test_on_a_terminal_it_shows_the_running_cells_and_the_counts(
    make_record: MakeRecord, watch: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    records = [make_record("snip", seed=seed) for seed in range(3)]
    records.append(make_record("grasp", status="failed"))
    stream = Terminal()
    with progress_of(records, stream) as progress:
        assert "0/4 cells 0:00:00 starting" in look(progress, stream)
        progress.epoch_finished(records[0].cell, records[0].curve[-1])
        progress.epoch_finished(records[1].cell, records[1].curve[0])
        now = look(progress, stream)
        assert "starting" not in now
        assert "digits / fc / snip / compression 10 / seed 0  epoch 1/5  test 80.0%" in now
        assert "digits / fc / snip / compression 10 / seed 1  epoch 0/5  test 10.0%" in now
        watch.now += 60
        progress.cell_finished(records[0])
        progress.cell_finished(records[3])
        now = look(progress, stream)
        assert "2/4 cells" in now
        assert "about 1:00 left" in now
        assert "1 failed" in now
        assert "seed 0  epoch" not in now
        assert "seed 1  epoch" in now
    assert "failed: digits / fc / grasp / compression 10 / seed 0: scores of 'fc1'" in shown(stream)


def test_on_a_narrow_terminal_titles_are_cut_and_numbers_are_not(
    make_record: MakeRecord, watch: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    record = make_record("snip")
    stream = Terminal()
    with progress_of([record], stream) as progress:
        progress.epoch_finished(record.cell, record.curve[-1])
        assert re.search(r"  digits / fc / [^\n]*…  epoch 1/5  test 80\.0%", look(progress, stream))


def look(progress: Any, stream: io.StringIO) -> str:
    """One picture of the display."""
    before = len(shown(stream))
    progress._live.refresh()
    return shown(stream)[before:]


def test_nothing_to_run_shows_nothing() -> None:
    stream = Terminal()
    with Progress(Plan([]), stream):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (360000, "100:00:00")],
)
def test_a_clock_shows_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text
