"""The events of a run reach every logger; one that raises is reported once and disturbs nothing."""

from __future__ import annotations

import sys
from pathlib import Path

from synflow_bench.host import Host, RunFinished, RunStarted
from synflow_bench.records import Epoch

LOGGER = """
    events = []
    @hookimpl
    def synflow_bench_run_started(run): events.append(('started', run))
    @hookimpl
    def synflow_bench_epoch_finished(cell, epoch): events.append(('epoch', cell, epoch))
    @hookimpl
    def synflow_bench_cell_finished(record): events.append(('cell', record))
    @hookimpl
    def synflow_bench_run_finished(run): events.append(('finished', run))
"""
STARTED = RunStarted(Path("results"), cells=4, recorded=1)
FINISHED = RunFinished(Path("results"), cells=4, recorded=1, ok=2, failed=1, skipped=0)
EPOCH = Epoch(epoch=1, lr=0.1, train_loss=1.0, val_top1=None, test_top1=0.5, test_loss=1.0)


def test_a_logger_handles_all_events_in_order(distribution, load, make_record):
    distribution("logger", LOGGER)
    record = make_record()
    host = load()
    host.run_started(STARTED)
    host.epoch_finished(record.cell, EPOCH)
    host.cell_finished(record)
    host.run_finished(FINISHED)
    assert sys.modules["logger"].events == [
        ("started", STARTED),
        ("epoch", record.cell, EPOCH),
        ("cell", record),
        ("finished", FINISHED),
    ]


def test_a_logger_that_raises_is_reported_once_and_the_others_go_on(distribution, load, warnings):
    for name, error in (("full", "OSError('disk full')"), ("gone", "SystemExit(1)")):
        distribution(name, f"@hookimpl\ndef synflow_bench_run_started(run): raise {error}")
    distribution("zz-logger", LOGGER)
    host = load()
    host.run_started(STARTED)
    host.run_started(STARTED)
    assert sys.modules["zz_logger"].events == [("started", STARTED)] * 2
    assert warnings == [
        "plugin 'full' of full 1.0 raised in synflow_bench_run_started: OSError: disk full; the run goes on",
        "plugin 'gone' of gone 1.0 raised in synflow_bench_run_started: SystemExit: 1; the run goes on",
    ]


def test_it_is_reported_once_per_hook_and_called_again(distribution, load, warnings, make_record):
    code = """
        calls = []
        @hookimpl
        def synflow_bench_run_started(run): raise ValueError('first')
        @hookimpl
        def synflow_bench_cell_finished(record):
            calls.append(record)
            raise ValueError('second')
    """
    distribution("faulty", code)
    host = load()
    host.run_started(STARTED)
    for _ in range(3):
        host.cell_finished(make_record())
    assert len(sys.modules["faulty"].calls) == 3
    assert [line.partition(" raised in ")[2] for line in warnings] == [
        "synflow_bench_run_started: ValueError: first; the run goes on",
        "synflow_bench_cell_finished: ValueError: second; the run goes on",
    ]


def test_a_logger_may_leave_hooks_out(distribution, load, warnings):
    distribution("logger", "@hookimpl\ndef synflow_bench_run_finished(): ...")
    host = load()
    host.run_started(STARTED)
    host.run_finished(FINISHED)
    assert warnings == []


def test_warnings_go_to_stderr_by_default(distribution, capsys):
    distribution("broken", "raise RuntimeError('on import')")
    Host.load(environment={})
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: plugin 'broken' of broken 1.0 is quarantined: RuntimeError: on import;")
