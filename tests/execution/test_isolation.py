"""Plugins of third parties run in workers of their own: what one breaks is its own failed cells."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import psutil
import pytest

from synflow_bench.errors import UsageError
from synflow_bench.execution import LocalExecutor, Resources, SerialExecutor, slot
from synflow_bench.execution.forkserver import FORKS
from synflow_bench.execution.origin import FIRST_PARTY_ORIGIN, origin_of
from synflow_bench.host import Host, PluginFile
from synflow_bench.limits import Limits, can_measure_memory
from synflow_bench.records import Record
from synflow_bench.suites import Cell

MakeCell = Callable[..., Cell]

NEIGHBORS = """
    import ctypes, os, random, signal, subprocess, sys, threading, time, warnings
    import torch
    from torch import nn
    from synflow_bench import Pruner, hookimpl

    PRUNERS = {}
    HELD = []

    def neighbor(act):
        def score(self, problem):
            act()
            return {name: weight.detach().abs() for name, weight in problem.parameters.items()}
        kind = type(act.__name__.title(), (Pruner,), {"score": score, "__doc__": "It breaks something."})
        PRUNERS[act.__name__.replace("_", "-")] = kind
        return act

    @neighbor
    def honest(): pass
    @neighbor
    def replaced_function(): nn.functional.relu = lambda inputs, inplace=False: inputs
    @neighbor
    def replaced_method(): nn.Linear.forward = lambda self, inputs: inputs @ (2 * self.weight).T
    @neighbor
    def replaced_builtin():
        import builtins
        builtins.round = lambda number, digits=None: 1
    @neighbor
    def hooked(): nn.modules.module.register_module_forward_hook(lambda module, inputs, output: 2 * output)
    @neighbor
    def threads(): torch.set_num_threads(7)
    @neighbor
    def dtype(): torch.set_default_dtype(torch.float64)
    @neighbor
    def device(): torch.set_default_device("meta")
    @neighbor
    def autocast(): torch.autocast("cpu").__enter__()
    @neighbor
    def inference():
        global kept
        kept = torch.inference_mode()
        kept.__enter__()
    @neighbor
    def settings():
        os.environ["OMP_NUM_THREADS"] = "5"
        os.chdir("/")
        torch.use_deterministic_algorithms(True)
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision("medium")
        warnings.simplefilter("error")
        random.seed(3)
        sys.setrecursionlimit(400)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sys.stdout = None
    @neighbor
    def exits(): os._exit(3)
    @neighbor
    def quits(): sys.exit("enough")
    @neighbor
    def interrupts(): raise KeyboardInterrupt
    @neighbor
    def closes(): raise GeneratorExit
    @neighbor
    def crashes(): ctypes.string_at(0)
    @neighbor
    def dies_later():
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
    @neighbor
    def forks(): os.fork()
    @neighbor
    def closes_files(): os.closerange(3, 100)
    @neighbor
    def sleeps(): time.sleep(600)
    @neighbor
    def waits(): time.sleep(1.5)
    @neighbor
    def stops(): os.kill(os.getpid(), signal.SIGSTOP); time.sleep(600)
    @neighbor
    def loops():
        while True: pass
    @neighbor
    def leaks():
        held = []
        while True:
            held.append(bytearray(os.urandom(1)) * (1 << 26))
            time.sleep(0.02)
    @neighbor
    def says_its_process():
        with open(os.environ["PROCESSES"], "a") as file: print(os.getpid(), file=file)
    @neighbor
    def keeps():
        says_its_process()
        HELD.append(b"1" * 200_000_000)
    @neighbor
    def prints():
        for number in range(100_000): print("a line", number)
        os.write(1, b"\\x1b[31mraw" + bytes([10]))
    @neighbor
    def leaves_children():
        subprocess.Popen(["sleep", os.environ["SLEEP"]])
        subprocess.Popen(["sleep", os.environ["SLEEP"]], start_new_session=True)
        subprocess.Popen("setsid sleep $SLEEP &", shell=True)
        threading.Thread(target=time.sleep, args=(600,)).start()

    @hookimpl
    def synflow_bench_pruners():
        return PRUNERS
"""

RESTORED = ("hooked", "threads", "dtype", "device", "autocast", "settings")
"""Neighbors whose changes are undone before their own networks train."""

FAILING = {
    "replaced-function": "torch.nn.functional.relu",
    "replaced-method": "torch.nn.Linear.forward",
    "replaced-builtin": "",
    "exits": "exit code 3",
    "quits": "enough",
    "interrupts": "KeyboardInterrupt",
    "closes": "GeneratorExit",
    "crashes": "SIGSEGV",
    "closes-files": "",
}
"""Neighbors that cost their own cell, and a part of the message."""


@pytest.fixture
def neighbors(tmp_path: Path) -> PluginFile:
    path = tmp_path / "neighbors.py"
    path.write_text(dedent(NEIGHBORS))
    return PluginFile.read(path)


@pytest.fixture
def run(resources: Resources, neighbors: PluginFile) -> Iterator[Callable[..., dict[str, Record]]]:
    """Run cells on one worker, and give their records by pruner."""
    executors: list[LocalExecutor] = []

    def run(cells: list[Cell], limits: Limits | None = None, workers: int = 1) -> dict[str, Record]:
        given = replace(resources, workers=workers, plugins=(neighbors,), limits=limits or Limits())
        executor = LocalExecutor(given, lambda _cell, _epoch: None)
        executors.append(executor)
        for cell in cells:
            executor.submit(cell)
        found = list(executor.finished())
        executor.close()
        assert len(found) == len(cells)
        return {record.cell.pruner.name: record for record in found}

    yield run
    for executor in executors:
        executor.close()


@pytest.mark.slow
def test_an_honest_row_is_the_same_with_and_without_any_neighbor(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], resources: Resources
) -> None:
    """The rows of synflow-bench itself too, and neighbors whose changes can be undone train as if alone."""
    honest = [make_cell(name) for name in ("random", "snip", "honest")]
    alone = run(honest)
    neighbors = [make_cell(name) for name in (*FAILING, *RESTORED, "inference", "forks", "dies-later")]
    together = run([neighbors[0], honest[0], *neighbors[1:], *honest[1:]])
    for name, record in alone.items():
        assert record.status == "ok", record.error
        assert together[name].result == record.result
        assert together[name].provenance.threads == 1
    for name, fact in FAILING.items():
        assert together[name].status == "failed"
        assert fact in str(together[name].error)
    for name in ("interrupts", "closes"):
        error = together[name].error
        assert error is not None
        assert "neighbors.py" in str(error.traceback)
    for name in RESTORED:
        record = together[name]
        assert record.status == "ok", (name, record.error)
        assert record.masks == together["honest"].masks
        assert record.curve == together["honest"].curve
        assert any("the pruner changed" in line for line in record.provenance.warnings), name


@pytest.mark.slow
def test_a_record_names_the_third_parties_whose_code_its_worker_has_loaded(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], neighbors: PluginFile
) -> None:
    found = run([make_cell("random"), make_cell("honest"), make_cell("exits")])
    provider = f"neighbors.py {neighbors.version}"
    assert found["random"].provenance.served == ()
    assert "served" not in found["random"].to_json()
    assert found["honest"].provenance.served == found["exits"].provenance.served == (provider,)
    assert found["exits"].provenance.plugins["pruner"] == provider


def test_an_origin_is_the_third_parties_of_a_cell_and_its_row(
    make_cell: MakeCell, neighbors: PluginFile, distribution: Any
) -> None:
    distribution("lab-data", "@hookimpl\ndef synflow_bench_datasets(): return {'lab': 'nowhere:Lab'}")
    host = Host.load(files=[neighbors])
    assert origin_of(make_cell("random"), host) is FIRST_PARTY_ORIGIN
    one, two = (origin_of(make_cell(name), host) for name in ("honest", "exits"))
    assert one.files == two.files == (neighbors,)
    assert one != two
    assert one == origin_of(make_cell("honest", compression=20, seed=3), host)
    on_data = origin_of(make_cell("random", dataset="lab"), host)
    assert (on_data.distributions, on_data.files, on_data.row) == ({"lab-data"}, (), "")
    assert on_data == origin_of(make_cell("snip", dataset="lab"), host)
    both = origin_of(make_cell("honest", dataset="lab"), host)
    assert (both.distributions, both.files) == ({"lab-data"}, (neighbors,))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sleeps", "stops", "loops"])
def test_a_cell_that_hangs_ends_at_the_limit_and_the_others_run(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], name: str
) -> None:
    found = run([make_cell(name), make_cell("random")], Limits(cell_timeout=3))
    error = found[name].error
    assert error is not None
    assert (error.kind, found["random"].status) == ("CellTimeout", "ok")
    assert "3 s" in error.message


@pytest.mark.skipif(not FORKS, reason="only Linux tells in /proc that a process is stopped")
def test_a_worker_that_stays_stopped_ends_without_a_limit_of_time(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "STOPPED_INTERVAL", 0.1)
    found = run([make_cell("stops"), make_cell("random")])
    error = found["stops"].error
    assert error is not None
    assert (error.kind, found["random"].status) == ("WorkerStopped", "ok")


@pytest.mark.skipif(not FORKS, reason="only Linux tells in /proc that a process is stopped")
def test_a_worker_that_is_continued_in_time_goes_on(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a batch system suspends a job: the run and its workers are continued one after another."""
    looks: list[int] = []

    def look(pid: int) -> bool:
        looks.append(pid)
        if len(looks) == slot.STOPPED_LOOKS:
            os.kill(pid, signal.SIGCONT)
            return False
        return len(looks) < 2 * slot.STOPPED_LOOKS

    monkeypatch.setattr(slot, "STOPPED_INTERVAL", 0.05)
    monkeypatch.setattr(slot, "is_stopped", look)
    assert run([make_cell("waits")])["waits"].status == "ok"
    assert len(looks) > 2 * slot.STOPPED_LOOKS


@pytest.mark.slow
def test_a_cell_that_uses_too_much_memory_ends_and_the_others_run(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]]
) -> None:
    found = run([make_cell("leaks"), make_cell("random")], Limits(memory=1500 << 20))
    error = found["leaks"].error
    assert error is not None
    assert (error.kind, found["random"].status) == ("MemoryLimitExceeded", "ok")
    assert "1.5G" in error.message


@pytest.mark.slow
@pytest.mark.skipif(not FORKS, reason="only Linux gives orphans to the process that asks for them")
def test_children_of_a_plugin_end_with_its_worker(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = f"60.{os.getpid()}"
    monkeypatch.setenv("SLEEP", marker)
    found = run([make_cell("leaves-children"), make_cell("random")])
    assert {record.status for record in found.values()} == {"ok"}
    deadline = time.monotonic() + 10
    while sleepers(marker) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert sleepers(marker) == []


def sleepers(marker: str) -> list[psutil.Process]:
    running = psutil.process_iter(["cmdline", "status"])
    alive = (process for process in running if process.info["status"] != psutil.STATUS_ZOMBIE)
    return [process for process in alive if process.info["cmdline"] == ["sleep", marker]]


@pytest.mark.slow
def test_a_flood_of_lines_is_cut_and_counted_and_reaches_stderr_alone(
    make_cell: MakeCell, run: Callable[..., dict[str, Record]], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run([make_cell("prints")])["prints"].status == "ok"
    out, err = capfd.readouterr()
    assert out == ""
    assert "\x1b" not in err
    assert err.count("a line") <= 100
    counted = next(line for line in err.splitlines() if "more lines" in line)
    shown = sum(line.startswith("a line") for line in err.splitlines())
    assert int(counted.split()[1]) == 100_001 - shown


@pytest.fixture
def processes(
    make_cell: MakeCell,
    run: Callable[..., dict[str, Record]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., list[int]]:
    """Run four cells, of two settings, that say in which process they run."""
    path = tmp_path / "processes"
    monkeypatch.setenv("PROCESSES", str(path))

    def processes(pruner: str, limits: Limits) -> list[int]:
        path.write_text("")
        cells = [make_cell(pruner, seed=seed) for seed in range(4)]
        for epochs, cell in enumerate(cells, 1):  # cells of one setting would train in one batch
            recipe = cell.setting.recipe.model_copy(update={"epochs": epochs})
            changed = {"setting": cell.setting.model_copy(update={"recipe": recipe})}
            cells[epochs - 1] = cell.model_copy(update=changed)
        assert run(cells, limits)[pruner].status == "ok"
        return [int(line) for line in path.read_text().splitlines()]

    return processes


@pytest.mark.parametrize(("recycle_after", "different"), [(None, 1), (1, 4), (2, 2)])
def test_a_worker_is_replaced_after_so_many_cells(
    processes: Callable[..., list[int]], recycle_after: int | None, different: int
) -> None:
    found = processes("says-its-process", Limits(recycle_after=recycle_after))
    assert (len(found), len(set(found))) == (4, different)


@pytest.mark.slow
@pytest.mark.skipif(not can_measure_memory(), reason="this system does not tell the memory of processes")
def test_a_worker_is_replaced_when_its_memory_has_grown(
    processes: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cell keeps 200 MB; the growth is counted from the end of a worker's first cell."""
    monkeypatch.setattr(slot, "GROWTH", 300 << 20)
    found = processes("keeps", Limits())
    assert (len(found), len(set(found))) == (4, 2)
    assert found[0] == found[1] == found[2]


def test_serial_refuses_limits_that_need_workers(resources: Resources) -> None:
    for limits in (Limits(cell_timeout=1), Limits(memory=1), Limits(recycle_after=1)):
        with pytest.raises(UsageError, match="'serial'"):
            SerialExecutor(replace(resources, workers=1, limits=limits), lambda _cell, _epoch: None)
