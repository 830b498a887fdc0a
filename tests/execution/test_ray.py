"""The Ray executor, on a real cluster of several nodes on this machine."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.execution import ExecutorError, Plan, Resources, SerialExecutor, run_plan
from synflow_bench.execution.ray import CellRequest, RayExecutor
from synflow_bench.host import PluginFile
from synflow_bench.records import Epoch, Store, key_of
from synflow_bench.suites import Cell

GIB = 2**30
PLUGIN = """
from synflow_bench import Pruner, hookimpl
class Mine(Pruner):
    'Magnitude, from a file.'
    needs_data = False
    def score(self, problem):
        return {name: weight.abs() for name, weight in problem.parameters.items()}
@hookimpl
def synflow_bench_pruners():
    return {"mine": Mine}
"""


def nobody(_cell: Cell, _epoch: Epoch) -> None: ...


@pytest.mark.parametrize(
    ("options", "request_"),
    [
        ({}, CellRequest(2, 1)),
        ({"cpus": "0.5", "gpus": "0.25", "memory": "4G"}, CellRequest(0.5, 0.25, 4 * GIB)),
        ({"gpus": "0"}, CellRequest(2, 0)),
    ],
)
def test_a_request_is_read_from_options(options: dict[str, str], request_: CellRequest) -> None:
    assert CellRequest.of(options, cpus=2, gpus=1) == request_


@pytest.mark.parametrize(
    "options", [{"cpus": "0"}, {"cpus": "nan"}, {"gpus": "-1"}, {"gpus": "many"}, {"memory": "x"}]
)
def test_a_request_that_is_no_number_is_refused(options: dict[str, str]) -> None:
    (value,) = options.values()
    with pytest.raises(UsageError, match=value):
        CellRequest.of(options, cpus=1, gpus=0)


@pytest.mark.parametrize(
    ("node", "workers"),
    [
        ({"CPU": 8.0, "GPU": 2.0, "memory": 64.0 * GIB}, 4),
        ({"CPU": 3.0, "GPU": 2.0, "memory": 64.0 * GIB}, 3),
        ({"CPU": 8.0, "GPU": 2.0, "memory": 9.0 * GIB}, 2),
        ({"CPU": 8.0}, 0),
    ],
)
def test_a_node_has_room_for_as_many_workers_as_each_resource_allows(
    node: dict[str, float], workers: int
) -> None:
    assert CellRequest(1, 0.5, 4 * GIB).fits(node) == workers


class OneNode:
    """A cluster of one node, in the place of Ray."""

    def __init__(self, gpus: float) -> None:
        self._node = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": gpus}}

    def is_initialized(self) -> bool:
        return True

    def nodes(self) -> list[dict[str, Any]]:
        return [self._node]


@pytest.mark.parametrize(
    ("gpus", "device", "options", "networks"),
    [(1, "auto", {}, 32), (1, "cpu", {}, 8), (1, "auto", {"gpus": "0"}, 8), (0, "auto", {}, 8)],
)
def test_a_batch_is_as_large_as_the_devices_of_workers_allow(
    resources: Resources,
    monkeypatch: pytest.MonkeyPatch,
    gpus: float,
    device: str,
    options: dict[str, str],
    networks: int,
) -> None:
    monkeypatch.setitem(sys.modules, "ray", OneNode(gpus))
    executor = RayExecutor(replace(resources, device=device, options=options), nobody)
    assert executor.max_batched == networks


def test_without_ray_the_extra_is_named(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'synflow-bench\[ray\]'"):
        RayExecutor(resources, nobody)


def test_an_option_that_an_executor_does_not_have_is_refused(small: Any) -> None:
    small("--address", "auto").assert_refused("executor 'serial' has no option 'address'; it has none")


@pytest.mark.parametrize("text", ["cpus", "disk=1", "cpus=1,cpus=2", "gpus=", "=1"])
def test_what_a_cluster_cannot_reserve_is_refused(small: Any, text: str) -> None:
    small("--per-cell", text).assert_refused("--per-cell", repr(text))


@pytest.mark.parametrize("text", ["partition", "=P", "time=", "time=1,time=2"])
def test_options_of_slurm_without_a_name_or_a_value_are_refused(small: Any, text: str) -> None:
    small("--slurm", text).assert_refused("--slurm", repr(text))


def records(store: Store, cells: list[Cell]) -> dict[str, dict[str, Any]]:
    found = [store.get(cell) for cell in cells]
    return {record.key: record.result for record in found if record}


@pytest.fixture
def small(invoke: Callable[..., Any], results: Path, tmp_path: Path) -> Callable[..., Any]:
    place = ["--results", str(results), "--data", str(tmp_path / "data"), "--executor", "serial"]
    return lambda *arguments: invoke("run", "--pruner", "random", *place, *arguments)


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head node that runs no cells, to which nodes are added."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture
def cells(make_cell: Callable[..., Cell]) -> list[Cell]:
    pruners = ("random", "magnitude", "snip")
    return [
        make_cell(pruner, compression, seed)
        for seed in range(5)
        for pruner in pruners
        for compression in (2, 5, 10, 20)
    ]


@pytest.mark.slow
def test_a_node_that_is_lost_costs_no_cell_and_changes_none(
    cluster: Any, cells: list[Cell], resources: Resources, tmp_path: Path
) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    shared, alone = Store(tmp_path / "shared"), Store(tmp_path / "alone")
    begun = threading.Event()
    epochs: list[str] = []

    def on_epoch(cell: Cell, _epoch: Epoch) -> None:
        epochs.append(key_of(cell))

    def kill() -> None:
        begun.wait(300)
        time.sleep(random.Random(1).random())  # noqa: S311
        cluster.remove_node(nodes[1], allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    done: list[str] = []

    def on_record(record: Any) -> None:
        done.append(record.key)
        if len(done) == 10:
            begun.set()

    executor = RayExecutor(replace(resources, workers=0), on_epoch)
    assert executor.workers == 2
    summary = run_plan(Plan(cells, missing=cells), shared, executor, on_record)
    killer.join()
    assert (summary.ok, summary.failed, summary.stopped) == (60, 0, None)
    assert sorted(done) == sorted(map(key_of, cells))
    assert len(epochs) >= 2 * 60
    serial = SerialExecutor(replace(resources, workers=1), nobody)
    run_plan(Plan(cells, missing=cells), alone, serial)
    assert records(shared, cells) == records(alone, cells)


@pytest.mark.slow
def test_plugins_by_file_travel_along_and_requests_are_kept(
    cluster: Any, make_cell: Callable[..., Cell], resources: Resources, tmp_path: Path
) -> None:
    cluster.add_node(num_cpus=2)
    file = tmp_path / "mine_on_ray.py"
    file.write_text(PLUGIN)
    given = replace(resources, workers=0, plugins=(PluginFile.read(file),), options={"cpus": "2"})
    file.unlink()
    executor = RayExecutor(given, nobody)
    assert executor.workers == 1
    cells, store = [make_cell("mine", 10, seed) for seed in range(3)], Store(tmp_path / "results")
    assert run_plan(Plan(cells, missing=cells), store, executor).ok == 3


@pytest.mark.slow
def test_a_cluster_without_room_is_refused(cluster: Any, resources: Resources) -> None:
    cluster.add_node(num_cpus=1)
    with pytest.raises(UsageError, match="no node of the Ray cluster has 5 CPUs, 0 GPUs"):
        RayExecutor(replace(resources, options={"cpus": "5"}), nobody)


@pytest.mark.slow
def test_a_node_with_other_versions_ends_the_run_with_their_names(
    cluster: Any, make_cell: Callable[..., Cell], resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_node(num_cpus=1)
    executor = RayExecutor(replace(resources, workers=1), nobody)
    monkeypatch.setitem(executor.expected, "torch", "0.0.1")
    executor.submit(make_cell())
    with pytest.raises(ExecutorError, match=r"torch .* \(here 0\.0\.1\)"):
        list(executor.finished())
    executor.close()
