"""The events of a run, as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import RecordError
from synflow_bench.events import EventLog, Watcher
from synflow_bench.host import RunFinished, RunStarted
from synflow_bench.records import Record

MakeRecord = Callable[..., Record]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_every_event_is_one_line(tmp_path: Path, make_record: MakeRecord) -> None:
    path, record = tmp_path / "log.jsonl", make_record(top1=0.75)
    failed = make_record(seed=1, status="failed", message="two\nlines \ud800 \x1b[31m")
    log = EventLog(path)
    log.run_started(RunStarted(tmp_path, 3, 1), 2)
    log.neighbor_found("node7, process 4711")
    log.cell_started(record.cell)
    log.cell_returned(record.cell)
    log.epoch_finished(record.cell, record.curve[1])
    log.cell_finished(record)
    log.cell_found(failed)
    log.run_finished(RunFinished(tmp_path, 3, 1, 1, 1, 0))
    found = lines(path)
    assert [line["event"] for line in found] == [
        *("run started", "other run", "cell started", "cell returned"),
        *("epoch", "cell finished", "cell found", "run finished"),
    ]
    assert all(line["time"].endswith("+00:00") for line in found)
    assert (found[0]["cells"], found[0]["recorded"], found[0]["workers"]) == (3, 1, 2)
    assert found[2]["key"] == found[4]["key"] == found[5]["key"] == record.key
    assert (found[4]["epoch"], found[4]["test_top1"]) == (record.curve[1].epoch, record.curve[1].test_top1)
    assert (found[5]["status"], found[5]["test_top1"], found[5]["error"]) == ("ok", 0.75, None)
    assert found[6]["status"] == "failed"
    assert found[6]["error"].startswith("ScoreError: ")
    assert (found[7]["ok"], found[7]["failed"]) == (1, 1)


def test_an_existing_log_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        EventLog(path).run_finished(RunFinished(tmp_path, 0, 0, 0, 0, 0))
    assert len(lines(path)) == 2


def test_a_log_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"cannot write log .*: No such file or directory"):
        EventLog(tmp_path / "missing" / "log.jsonl")


def test_a_full_disk_ends_the_log_and_not_the_run(make_record: MakeRecord) -> None:
    log = EventLog(Path("/dev/full"))
    for _ in range(2):
        log.cell_finished(make_record())


def test_a_watcher_handles_every_event(make_record: MakeRecord, tmp_path: Path) -> None:
    watcher, record = Watcher(), make_record()
    watcher.run_started(RunStarted(tmp_path, 1, 0), 1)
    watcher.neighbor_found("another")
    watcher.cell_started(record.cell)
    watcher.cell_returned(record.cell)
    watcher.epoch_finished(record.cell, record.curve[0])
    watcher.cell_finished(record)
    watcher.cell_found(record)
    watcher.run_finished(RunFinished(tmp_path, 1, 0, 1, 0, 0))
