"""The Slurm executor, on a real Slurm of one machine where this user may start one."""

from __future__ import annotations

import getpass
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.execution import ExecutorError, Resources
from synflow_bench.execution.slurm import SCRIPT, SlurmExecutor
from synflow_bench.host import PluginClass
from synflow_bench.pruning import Pruner
from synflow_bench.records import Store
from synflow_bench.suites import Cell

PROGRAMS = ("sbatch", "slurmctld", "slurmd", "munged")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
PreemptMode=OFF
KillWait=30
SlurmctldPort=16817
SlurmdPort=16818
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SchedulerParameters=batch_sched_delay=1,sched_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture
def slurm(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A Slurm of one node; gives the environment of its commands."""
    if os.getuid() or not all(map(shutil.which, PROGRAMS)):
        pytest.skip(f"only root can start {', '.join(PROGRAMS)}, where they are installed")
    folder = tmp_path / "slurm"
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host, cores = platform.node(), os.cpu_count()
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(host=host, folder=folder, cores=cores))
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    started: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> None:
        started.append(
            subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        )

    try:
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
            Path("/run/munge").mkdir(exist_ok=True)
            start("munged", "--foreground", "--force")
        start("slurmctld", "-D")
        start("slurmd", "-D")
        deadline = time.monotonic() + 60
        while b"idle" not in _output(environment, "sinfo", "--noheader"):
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()
            time.sleep(0.5)
        yield environment
    finally:
        _output(environment, "scancel", f"--user={getpass.getuser()}")
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(60)


def _output(environment: dict[str, str], *command: str) -> bytes:
    return subprocess.run(command, env=environment, capture_output=True, check=False).stdout


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is found, and never called."""
    program = tmp_path / "bin" / "sbatch"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def nobody(*_: Any) -> None: ...


def with_options(resources: Resources, tmp_path: Path, **options: str) -> Resources:
    return replace(resources, results=tmp_path / "results", options=options)


@pytest.mark.usefixtures("sbatch")
@pytest.mark.parametrize("patience", [60.0, -1.0])
def test_a_controller_that_does_not_answer_ends_the_run_only_after_a_while(
    resources: Resources,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_cell: Callable[..., Cell],
    patience: float,
) -> None:
    answers = iter(["17", None, None, "17", "", None])

    def call(program: str, *_: str) -> str:
        answer = next(answers) if program == "squeue" else "17"
        if answer is None:
            raise ExecutorError(f"{program} fails: cannot contact the controller")
        return answer

    monkeypatch.setattr("synflow_bench.execution.slurm._call", call)
    monkeypatch.setattr("synflow_bench.execution.slurm.POLL", 0.0)
    monkeypatch.setattr("synflow_bench.execution.slurm.PATIENCE", patience)
    executor = SlurmExecutor(with_options(resources, tmp_path), nobody)
    executor.submit(make_cell())
    with pytest.raises(ExecutorError, match="squeue fails"):
        next(executor.finished())
    left = len(list(answers))
    assert left == (0 if patience > 0 else 4)


def test_without_slurm_it_says_where_to_start(
    resources: Resources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="needs the command sbatch"):
        SlurmExecutor(with_options(resources, tmp_path), nobody)


@pytest.mark.usefixtures("sbatch")
@pytest.mark.parametrize("options", [{"jobs": "0"}, {"jobs": "many"}, {"memory": "lots"}])
def test_an_option_that_is_no_number_is_refused(
    resources: Resources, tmp_path: Path, options: dict[str, str]
) -> None:
    (value,) = options.values()
    with pytest.raises(UsageError, match=value):
        SlurmExecutor(with_options(resources, tmp_path, **options), nobody)


@pytest.mark.usefixtures("sbatch")
def test_a_pruner_class_cannot_be_sent(resources: Resources, tmp_path: Path) -> None:
    class Local(Pruner):
        def score(self, problem: Any) -> Any: ...

    given = replace(with_options(resources, tmp_path), plugins=(PluginClass.of(Local),))
    with pytest.raises(UsageError, match="write a plugin file"):
        SlurmExecutor(given, nobody)


@pytest.mark.parametrize(("sent", "requeued"), [(signal.SIGUSR1, "requeue 4711\n"), (signal.SIGTERM, "")])
def test_the_script_ends_its_run_and_requeues_the_job_before_its_time_is_up(
    tmp_path: Path, sent: signal.Signals, requeued: str
) -> None:
    """A run that is terminated saves its cells and ends with 130."""
    calls, ready, program = tmp_path / "calls", tmp_path / "ready", tmp_path / "scontrol"
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n')
    program.chmod(0o755)
    run = tmp_path / "run.sh"
    run.write_text(f"trap 'sleep 0.3; exit 130' TERM\ntouch {ready}\nwhile true; do sleep 0.05; done\n")
    script = tmp_path / "script.sh"
    script.write_text(SCRIPT.format(command=f"bash {run}"))
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    process = subprocess.Popen(
        ["bash", str(script)], env={**os.environ, "PATH": path, "SLURM_JOB_ID": "4711"}
    )
    while not ready.exists():
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.wait(60) == 130
    assert (calls.read_text() if calls.exists() else "") == requeued


@pytest.mark.slow
def test_jobs_divide_the_cells_and_a_requeued_one_loses_none(
    slurm: dict[str, str], tmp_path: Path, make_cell: Callable[..., Cell]
) -> None:
    results = tmp_path / "results"
    ratios = [f"--compression={ratio}" for ratio in (2, 3, 5, 10, 20, 30, 50, 80, 100)]
    command = ["python", "-m", "synflow_bench", "run", "--pruner=random", "--seeds=6", "--epochs=1", "--json"]
    command += ["--results", str(results), "--executor", "slurm", "--slurm", "jobs=2,partition=all", *ratios]
    command[0] = sys.executable
    detached = subprocess.run([*command, "--detach"], env=slurm, capture_output=True, text=True, check=False)
    assert detached.returncode == 0, detached.stderr
    assert "detached: Slurm jobs" in detached.stderr
    driver = subprocess.Popen(command, env=slurm, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(list(results.glob("records/*/*/*/*.json"))) < 10:
        assert time.monotonic() < deadline, driver.poll()
        time.sleep(0.2)
    running = _output(slurm, "squeue", "--noheader", "--states=RUNNING", "--format=%i").split()
    assert 1 <= len(running) <= 2
    _output(slurm, "scontrol", "requeue", running[0].decode())
    out, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    requeued = _output(slurm, "scontrol", "show", "job", running[0].decode())
    assert b"Restarts=1 " in requeued
    assert b"JobState=COMPLETED" in requeued
    serial = [
        *command[: command.index("--results")],
        "--executor=serial",
        "--results",
        str(tmp_path / "serial"),
    ]
    subprocess.run([*serial, *ratios], capture_output=True, check=True)
    expected = {record.key: record.result for record in Store(tmp_path / "serial")}
    assert {record.key: record.result for record in Store(results)} == expected
    assert len(expected) == 60
    assert json.loads(out)["elsewhere"] + json.loads(out)["recorded"] == 60
    assert list((results / "claims").iterdir()) == []


@pytest.mark.slow
def test_a_job_that_is_told_to_end_saves_its_cells_and_the_requeued_one_continues_them(
    slurm: dict[str, str], tmp_path: Path, in_training: Callable[..., int]
) -> None:
    """No checkpoint was due: the signal is the reason for those from which the second job continues."""
    command = [sys.executable, "-m", "synflow_bench", "run", "--pruner=snip", "--compression=10", "--seeds=1"]
    command += ["--epochs=40", "--set=recipe.batch_size=8"]
    results, whole = tmp_path / "results", tmp_path / "whole"
    with subprocess.Popen(
        [*command, "--results", str(results), "--executor=slurm", "--slurm=jobs=1,partition=all"],
        env=slurm,
        stderr=subprocess.PIPE,
        text=True,
    ) as driver:
        in_training(driver, results, epochs=2)
        (job,) = _output(slurm, "squeue", "--noheader", "--states=RUNNING", "--format=%i").split()
        _output(slurm, "scancel", "--batch", "--signal=USR1", job.decode())
        _, err = driver.communicate(timeout=400)
    assert driver.returncode == 0, err
    subprocess.run([*command, "--results", str(whole), "--workers=1"], check=True, capture_output=True)
    found, plain = list(Store(results)), list(Store(whole))
    assert [record.provenance.resumed for record in found] == [1, 1]
    assert [record.result for record in found] == [record.result for record in plain]
