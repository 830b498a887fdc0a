"""The progress of a run: a live display on a terminal, plain lines elsewhere, and an honest time left."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench import progress
from synflow_bench.execution import Plan
from synflow_bench.progress import Progress, TimeLeft, clock
from synflow_bench.records import Epoch, Failure, Record, Timing
from synflow_bench.suites import Multishot

MakeRecord = Callable[..., Record]

RESULTS = Path("lab/results")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Clock:
    watch = Clock()
    monkeypatch.setattr(progress, "time", watch)
    return watch


@contextmanager
def shown(records: list[Record], stream: io.StringIO, workers: int = 1) -> Iterator[Progress]:
    cells = [record.cell for record in records]
    progress = Progress(Plan(cells, missing=cells), RESULTS, stream)
    with progress.shown(workers):
        yield progress


def took(record: Record, seconds: float) -> Record:
    """The same record of a cell that took so many seconds of a worker."""
    timing = Timing(prune_seconds=0, train_seconds=0, total_seconds=seconds)
    return record.model_copy(update={"timing": timing})


def at_epoch(record: Record, epoch: int) -> Epoch:
    return record.curve[0].model_copy(update={"epoch": epoch})


def test_without_a_terminal_it_writes_a_line_at_the_start_now_and_then_and_at_the_end(
    make_record: MakeRecord, watch: Clock
) -> None:
    records = [took(make_record(seed=seed), 6.5) for seed in range(4)]
    known = make_record("grasp").cell
    plan = Plan([known], recorded=[known], missing=[record.cell for record in records])
    stream = io.StringIO()
    progress = Progress(plan, RESULTS, stream)
    with progress.shown(2):
        for record, seconds in zip(records, (11, 2, 9, 4), strict=True):
            watch.now += seconds
            progress.cell_finished(record)
    assert stream.getvalue().splitlines() == [
        "run: 4 cells, 1 recorded before, 2 workers",
        "1/4 cells, 0 failed, about 0:10 left",
        "3/4 cells, 0 failed, about 0:06 left",
        "4/4 cells, 0 failed, took 0:26",
    ]


def test_a_line_comes_every_minute_even_if_nothing_finishes(make_record: MakeRecord, watch: Clock) -> None:
    records = [make_record(seed=seed) for seed in range(2)]
    stream = io.StringIO()
    with shown(records, stream) as progress:
        for seconds in (59, 1, 30, 30):
            watch.now += seconds
            progress.tick()
        progress.epoch_finished(records[0].cell, records[0].curve[0])
        watch.now += 60
        progress.tick()
    assert stream.getvalue().splitlines()[1:] == [
        "0/2 cells, 0 failed, starting",
        "0/2 cells, 0 failed, starting",
        "0/2 cells, 0 failed, 1 running",
    ]


def test_the_line_of_every_minute_comes_by_itself(
    make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LONGEST_SILENCE", 0.01)
    stream = io.StringIO()
    with shown([make_record()], stream):
        deadline = time.monotonic() + 30
        while stream.getvalue().count("0/1 cells") < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_nothing_is_shown_where_it_is_not_wanted(make_record: MakeRecord, watch: Clock) -> None:
    record = make_record(status="failed")
    for stream in (io.StringIO(), Terminal()):
        progress = Progress(Plan([record.cell], missing=[record.cell]), RESULTS, stream, show=False)
        with progress.shown(1):
            progress.cell_finished(record)
        assert stream.getvalue() == ""


def test_a_failure_is_printed_at_once_with_its_cell(make_record: MakeRecord, watch: Clock) -> None:
    records = [make_record(status="failed", message="no [b]luck[/b]"), make_record(seed=1)]
    stream = io.StringIO()
    with shown(records, stream) as progress:
        progress.cell_finished(records[0])
    assert stream.getvalue().splitlines()[1:] == [
        "failed: digits / fc / snip / compression 10 / seed 0: ScoreError: no [b]luck[/b]"
    ]


def test_a_bug_is_printed_with_its_line_and_the_command_that_shows_the_traceback(
    make_record: MakeRecord, watch: Clock
) -> None:
    """A handled error, as in the test above, has no traceback to show."""
    traceback = 'Traceback (most recent call last):\n  File "/lab/mine.py", line 7, in score\nKeyError: 3'
    failure = Failure(kind="KeyError", message="3", traceback=traceback)
    record = make_record(status="failed").model_copy(update={"error": failure})
    stream = io.StringIO()
    with shown([record, make_record(seed=1)], stream) as progress:
        progress.cell_finished(record)
    (line,) = stream.getvalue().splitlines()[1:]
    assert "KeyError: 3 (mine.py:7)" in line
    assert f"`synflow-bench show {record.key} --results lab/results`" in line


def test_failures_with_one_message_are_soon_only_counted(make_record: MakeRecord, watch: Clock) -> None:
    records = [make_record(status="failed", seed=seed) for seed in range(9)]
    stream = io.StringIO()
    with shown(records, stream) as progress:
        for record in records:
            progress.cell_finished(record)
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("failed: ")]
    assert len(lines) == 3
    assert "only counted" in lines[-1]


def test_on_a_terminal_it_shows_the_running_cells_and_the_counts(
    make_record: MakeRecord, watch: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    records = [took(make_record("snip", seed=seed), 60) for seed in range(3)]
    records.append(make_record("grasp", status="failed"))
    stream = Terminal()
    with shown(records, stream) as progress:
        assert "0/4 cells 0:00:00 starting" in look(stream)
        progress.epoch_finished(records[0].cell, records[0].curve[-1])
        progress.epoch_finished(records[1].cell, records[1].curve[0])
        now = look(stream)
        assert "starting" not in now
        assert "digits / fc / snip / compression 10 / seed 0  epoch 1/5  test 80.0%" in now
        assert "digits / fc / snip / compression 10 / seed 1  epoch 0/5  test 10.0%" in now
        watch.now += 60
        progress.cell_finished(records[0])
        progress.cell_finished(records[3])
        now = look(stream)
        assert "2/4 cells" in now
        assert "about 2:00 left" in now
        assert "1 failed" in now
        assert "seed 0  epoch" not in now
        assert "seed 1  epoch" in now
    assert "failed: digits / fc / grasp / compression 10 / seed 0: ScoreError: scores of 'fc1'" in plain(
        stream
    )


def test_on_a_terminal_cells_of_a_batch_are_named_as_such(
    make_record: MakeRecord, watch: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    records = [make_record("snip", seed=seed) for seed in range(3)]
    stream = Terminal()
    with shown(records, stream, workers=2) as progress:
        for record, batched in zip(records, (False, False, True), strict=True):
            progress.cell_started(record.cell)
            assert ("3 running on 2 workers: a batch" in look(stream)) is batched


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_a_run_of_which_all_is_recorded_says_so_at_once(make_record: MakeRecord, stream: io.StringIO) -> None:
    cells = [make_record(seed=seed).cell for seed in range(3)]
    with Progress(Plan(cells, recorded=cells), RESULTS, stream).shown(1):
        assert plain(stream).splitlines() == ["run: nothing to run, 3 cells recorded before"]


def test_on_a_terminal_the_lines_at_the_end_and_of_failures_fit_and_commands_stay_whole(
    make_record: MakeRecord, watch: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    records = [took(make_record("synflow[rounds=100,bn=ones]", seed=seed), 60) for seed in range(4)]
    failed = make_record("grasp", status="failed", message="no luck " * 30)
    text = {}
    for stream in (io.StringIO(), Terminal()):
        with shown([*records, failed], stream) as progress:
            for record in [*records, failed]:
                progress.cell_finished(record)
        progress.print_end()
        text[type(stream)] = plain(stream)
    end = text[Terminal][text[Terminal].index("slowest cells:") :].splitlines()
    commands = [line for line in end if "synflow-bench show" in line]
    assert len(commands) == 4
    assert all(line.endswith("--results lab/results") for line in commands)
    assert max(map(len, end)) <= 80
    whole = " ".join(text[io.StringIO].split())
    assert "no luck " * 29 in whole
    assert "no luck " * 29 in " ".join(text[Terminal].split())
    assert sum("show" in line and "# digits" in line for line in text[io.StringIO].splitlines()) == 4


def test_on_a_narrow_terminal_titles_are_cut_and_numbers_are_not(
    make_record: MakeRecord, watch: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("TERM", "xterm")
    record = make_record("snip")
    stream = Terminal()
    with shown([record], stream) as progress:
        progress.epoch_finished(record.cell, record.curve[-1])
        assert re.search(r"  digits / fc / [^\n]*…  epoch 1/5  test 80\.0%", look(stream))


def plain(stream: io.StringIO) -> str:
    """Return what was written, without the codes of colors and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())


def look(stream: io.StringIO) -> str:
    """Wait for the next picture of the display, which comes by itself."""
    before = len(plain(stream))
    deadline = time.monotonic() + 30
    while plain(stream)[before:].count("cells") < 2:  # the first one may have begun earlier
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return plain(stream)[before:]


def test_nothing_to_run_shows_nothing() -> None:
    for stream in (io.StringIO(), Terminal()):
        with shown([], stream):
            pass
        assert stream.getvalue() == ""


@given(start=st.floats(0, 600), batch=st.sampled_from([1, 4, 8]), workers=st.sampled_from([1, 2, 8]))
def test_after_the_first_batch_neither_the_start_nor_cells_that_end_together_mislead(
    make_record: MakeRecord, start: float, batch: int, workers: int
) -> None:
    """64 cells take 3 seconds of a worker each; all workers end their first batch at one time."""
    records = [took(make_record(seed=seed), 3.0) for seed in range(64)]
    left, now = TimeLeft([record.cell for record in records]), 1000.0 + start
    left.workers = workers
    first = records[: batch * workers]
    for record in first:
        left.epoch_finished(record.cell, at_epoch(record, 0), now)
    now += 3.0 * batch
    for record in first:
        left.epoch_finished(record.cell, at_epoch(record, 5), now)
    expected = (64 - len(first)) * 3.0 / workers
    if len(first) < 64:
        assert left.seconds(now) == pytest.approx(expected), "before the first record, by the epochs"
    for record in first:
        left.cell_finished(record)
        assert left.seconds(now) == pytest.approx(expected), "and with each of them"


def test_the_time_left_runs_down_as_a_batch_trains(make_record: MakeRecord) -> None:
    records = [took(make_record(seed=seed), 10.0) for seed in range(8)]
    left = TimeLeft([record.cell for record in records])
    left.cell_finished(records[0])
    found = []
    for epoch in range(6):
        for record in records[1:]:
            left.epoch_finished(record.cell, at_epoch(record, epoch), 0.0)
        found.append(left.seconds(0.0))
    assert found == pytest.approx([70, 56, 42, 28, 14, 0])


def test_every_setting_has_its_own_mean(make_record: MakeRecord) -> None:
    short = [took(make_record(seed=seed), 1.0) for seed in range(3)]
    levels = short[0].cell.setting.model_copy(update={"protocol": Multishot(levels=3)})
    long = [took(make_record(seed=seed, setting=levels), 9.0) for seed in range(3)]
    left = TimeLeft([record.cell for record in short + long])
    left.cell_finished(short[0])
    assert left.seconds(0.0) == pytest.approx(5 * 1.0), "by what is known"
    left.cell_finished(long[0])
    assert left.seconds(0.0) == pytest.approx(2 * 1.0 + 2 * 9.0)


def test_the_last_of_several_trainings_begins_where_the_others_have_ended(make_record: MakeRecord) -> None:
    """With 3 levels of 5 epochs, epoch 0 of the last training comes after 15 of 20 epochs."""
    levels = make_record().cell.setting.model_copy(update={"protocol": Multishot(levels=3)})
    records = [took(make_record(seed=seed, setting=levels), 20.0) for seed in range(2)]
    left = TimeLeft([record.cell for record in records])
    left.cell_finished(records[0])
    left.epoch_finished(records[1].cell, at_epoch(records[1], 0), 0.0)
    assert left.seconds(0.0) == pytest.approx(5.0)


def test_nothing_is_known_at_first_and_of_failures(make_record: MakeRecord) -> None:
    records = [make_record(seed=0), make_record(seed=1, status="failed")]
    left = TimeLeft([record.cell for record in records])
    assert left.seconds(1.0) is None
    left.epoch_finished(records[0].cell, at_epoch(records[0], 0), 1.0)
    assert left.seconds(2.0) is None
    left.cell_finished(records[1])
    assert left.seconds(2.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0:00"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03"), (360000, "100:00:00")],
)
def test_a_clock_shows_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_warning_of_a_pruner_is_printed_once(make_record: MakeRecord, watch: Clock) -> None:
    def warned(seed: int) -> Record:
        record = make_record(seed=seed)
        warnings = ("layer 'fc1' scores 0 everywhere",)
        return record.model_copy(
            update={"provenance": record.provenance.model_copy(update={"warnings": warnings})}
        )

    records = [warned(seed) for seed in range(3)]
    stream = io.StringIO()
    with shown(records, stream) as progress:
        for record in records:
            progress.cell_finished(record)
    assert len([line for line in stream.getvalue().splitlines() if "scores 0 everywhere" in line]) == 1
