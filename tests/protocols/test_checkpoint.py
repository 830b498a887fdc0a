"""Checkpoints: a cell that was killed anywhere continues, and its record is the same to the bit."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save

from synflow_bench.data import Split, Splits
from synflow_bench.host import Host, PluginFile
from synflow_bench.protocols import (
    CellInterrupted,
    Checkpoints,
    WorkerContext,
    build_network,
    context,
    run_cell,
    run_cells,
)
from synflow_bench.protocols import record as record_of_cells
from synflow_bench.records import Record, key_of
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import DATA_WORKERS_VARIABLE, BatchedStep, TrainingStep, loop

EVERY_STEP = 1e-9
"""Minutes between checkpoints: so few that one is written before every step."""

PLUGIN = Path(__file__).with_name("squares.py")


def cell(
    model: str = "perceptron",
    pruner: str = "magnitude",
    compression: float = 4.0,
    *,
    seed: int = 0,
    dataset: str = "squares",
    ablation: str = "none",
    recipe: Mapping[str, Any] | None = None,
    **setting: Any,
) -> Cell:
    """A cell of 5 epochs of 4 steps."""
    plain = {"epochs": 5, "optimizer": "momentum", "lr": 0.05, "batch_size": 16, "schedule": "cosine"}
    return Cell(
        setting=Setting(
            dataset=dataset,
            model=ModelSpec(name=model),
            recipe=Recipe(**{**plain, **(recipe or {})}),
            **setting,
        ),
        pruner=PrunerSpec.model_validate(pruner),
        compression=compression,
        seed=seed,
        ablation=ablation,
    )


ADAM = {"optimizer": "adam", "lr": 0.01, "weight_decay": 1e-3}
LEVELS = {"name": "multishot", "levels": 2}

CELLS: dict[str, Cell] = {
    "batched step": cell(),
    "batched step, most weights kept": cell(compression=1.2, recipe=ADAM),
    "training before pruning": cell("normed", "snip", protocol={"pre_epochs": 2}),
    "rewinding to a step": cell("normed", recipe=ADAM, protocol={**LEVELS, "rewind": 6}),
    "rewinding in a batched step": cell(recipe={"optimizer": "sgd"}, protocol={**LEVELS, "rewind": 2}),
    "rewinding of the learning rate": cell("normed", protocol={**LEVELS, "rewind": "lr", "pre_epochs": 3}),
    "new weights after pruning": cell(
        "normed", ablation="reinit", protocol={**LEVELS, "rewind": "init", "pre_epochs": 2}
    ),
    "dropout": cell("drops", recipe={"optimizer": "rmsprop", "lr": 1e-3}),
    "bfloat16": cell("normed", recipe={**ADAM, "precision": "bf16", "channels_last": True}),
    "dead units": cell("normed", "synflow[rounds=5]", 40.0, recipe={"gradient_clip": 1.0}),
    "gradual pruning": cell(pruner="gmp[every=3]", recipe=ADAM),
    "random growth": cell("drops", "set", recipe={"gradient_clip": 1.0}),
    "growth by gradients": cell("normed", "rigl[every=3]", protocol={"pre_epochs": 1}),
    "learned masks": cell("normed", "edge-popup", 2.0),
    "fine-tuning": cell(protocol={"name": "finetune", "epochs": 3, "lr": 0.01}),
    "streamed data": cell("normed", dataset="streamed-squares", recipe={"batch_size": 13}),
}


class Killed(KeyboardInterrupt):
    """The end of a process, as far as a test in the same one can have it."""


class Killer:
    """Ends the run of a cell at its n-th event: before or after a step, an evaluation or a pruning."""

    def __init__(self) -> None:
        self.seen = 0
        self.last: int | None = None

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self._event()
            result = function(*arguments, **named)
            self._event()
            return result

        return wrapped

    def _event(self) -> None:
        self.seen += 1
        if self.seen == self.last:
            raise Killed


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    found = Killer()
    places = [
        (TrainingStep, "__call__"),
        (BatchedStep, "__call__"),
        (loop, "evaluate"),
        (context, "run_pruner"),
    ]
    for owner, name in places:
        monkeypatch.setattr(owner, name, found.wrap(getattr(owner, name)))
    return found


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.load(files=[PluginFile.read(PLUGIN)])


@pytest.fixture
def worker(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    """A context that saves no checkpoints."""
    monkeypatch.setenv(DATA_WORKERS_VARIABLE, "0")
    return WorkerContext(host, tmp_path, torch.device("cpu"), threads=1)


def saving(
    worker: WorkerContext, minutes: float = EVERY_STEP, epochs: int = 0, **changes: Any
) -> WorkerContext:
    """A context of a new process that saves checkpoints in the same folder as any other."""
    checkpoints = Checkpoints.of(worker.data_root, minutes=minutes, epochs=epochs)
    fields = {"device": worker.device, "threads": worker.threads, **changes}
    return WorkerContext(worker.host, worker.data_root, checkpoints=checkpoints, **fields)


def run_until_killed(cells: list[Cell], worker: WorkerContext, killer: Killer, last: int) -> bool:
    killer.seen, killer.last = 0, last
    try:
        run_cells(cells, worker, lambda *_: None)
    except Killed:
        return True
    finally:
        killer.last = None
    return False


def files(worker: WorkerContext) -> list[Path]:
    return sorted((worker.data_root / "checkpoints").rglob("*.safetensors"))


def resumed(record: Record) -> int:
    assert record.status == "ok", record.error
    assert record.provenance.warnings == ()
    return record.provenance.resumed


def check_kills(cell: Cell, worker: WorkerContext, killer: Killer, stride: int) -> None:
    """Kill the cell at each `stride`-th event, let it continue, and compare the records."""
    whole, events = run_cell(cell, worker), killer.seen
    policies = cycle([{"minutes": EVERY_STEP}, {"minutes": 0, "epochs": 1}])
    kills = range(1 + events // 7 % stride, events + 1, stride)
    continued = 0
    for last, policy in zip(kills, policies, strict=False):
        assert run_until_killed([cell], saving(worker, **policy), killer, last)
        again = run_cell(cell, saving(worker, **policy))
        continued += resumed(again)
        assert again.result == whole.result
        assert again.provenance.engine == whole.provenance.engine
        Checkpoints.of(worker.data_root).discard(again.key)
    assert continued >= len(kills) / 2


@pytest.mark.parametrize("name", CELLS)
def test_killed_at_a_step_an_evaluation_or_a_pruning_a_cell_gets_the_same_record(
    name: str, worker: WorkerContext, killer: Killer
) -> None:
    run_cell(CELLS[name], worker)
    events, killer.seen = killer.seen, 0
    check_kills(CELLS[name], worker, killer, stride=events // 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", CELLS)
def test_so_it_does_at_every_one_of_them(name: str, worker: WorkerContext, killer: Killer) -> None:
    check_kills(CELLS[name], worker, killer, stride=1)


def test_cells_of_a_batch_continue_in_any_other_batch_with_the_same_records(
    worker: WorkerContext, killer: Killer
) -> None:
    cells = [
        cell("perceptron", pruner, compression, seed=seed, recipe=ADAM)
        for seed, (pruner, compression) in enumerate(
            [("magnitude", 4.0), ("random", 1.2), ("snip", 30.0), ("synflow[rounds=3]", 3.0)]
        )
    ]
    whole = [run_cell(each, worker).result for each in cells]
    for last in (29, 30, 41, 58):
        assert run_until_killed(cells[:3], saving(worker), killer, last)
        assert run_until_killed(cells[1:3], saving(worker), killer, 12)  # these go further than the first
        records = run_cells([cells[2], cells[3], cells[0], cells[1]], saving(worker), lambda *_: None)
        assert [resumed(record) for record in records] == [2, 0, 1, 2]
        assert [record.result for record in records] == [whole[2], whole[3], whole[0], whole[1]]
        for record in records:
            Checkpoints.of(worker.data_root).discard(record.key)


def test_a_cell_killed_again_and_again_goes_forward(worker: WorkerContext, killer: Killer) -> None:
    chosen = CELLS["rewinding in a batched step"]
    whole = run_cell(chosen, worker)
    lives = 0
    while run_until_killed([chosen], saving(worker), killer, 17):
        lives += 1
        assert lives < 30
    record = run_cell(chosen, saving(worker))
    assert record.result == whole.result
    assert resumed(record) > lives / 2 > 2


def test_only_new_points_of_the_curve_are_reported(worker: WorkerContext, killer: Killer) -> None:
    chosen = CELLS["dropout"]
    reported: list[int] = []
    killer.last = 33
    with pytest.raises(Killed):
        run_cell(chosen, saving(worker), lambda point: reported.append(point.epoch))
    killer.last = None
    run_cell(chosen, saving(worker), lambda point: reported.append(point.epoch))
    assert reported == [0, 1, 2, 3, 4, 5]


def test_times_are_those_of_all_parts(
    worker: WorkerContext, killer: Killer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = CELLS["training before pruning"]
    slow, original = 0.05, TrainingStep.__call__

    def step(*arguments: Any) -> Any:
        time.sleep(slow)
        return original(*arguments)

    monkeypatch.setattr(TrainingStep, "__call__", step)
    assert run_until_killed([chosen], saving(worker), killer, 67)
    timing = run_cell(chosen, saving(worker)).timing
    assert timing is not None
    assert (
        timing.train_seconds > 20 * slow
    )  # 5 epochs of 4 steps after the pruning, of which some were before
    assert timing.total_seconds > timing.train_seconds + 8 * slow


def test_a_stop_request_saves_the_cells_and_interrupts_them(worker: WorkerContext) -> None:
    cells = [cell(seed=seed) for seed in range(3)]
    whole = [run_cell(each, worker).result for each in cells]
    stopping = saving(worker, minutes=60)

    def on_epoch(_: Cell, point: Any) -> None:
        if point.epoch == 3:
            stopping.stop.request()

    with pytest.raises(CellInterrupted):
        run_cells(cells, stopping, on_epoch)
    assert len(files(worker)) == 3
    records = run_cells(cells, saving(worker, minutes=60), lambda *_: None)
    assert [record.result for record in records] == whole
    assert [resumed(record) for record in records] == [1, 1, 1]


def test_a_stop_request_without_checkpoints_interrupts_too(worker: WorkerContext) -> None:
    worker.stop.request()
    with pytest.raises(CellInterrupted):
        run_cell(cell(), worker)
    assert files(worker) == []


@pytest.mark.parametrize(
    ("minutes", "epochs", "saves"), [(0.0, 1, 4), (0.0, 2, 2), (0.0, 5, 0), (60.0, 0, 0), (EVERY_STEP, 0, 20)]
)
def test_checkpoints_are_written_at_the_chosen_times(
    minutes: float, epochs: int, saves: int, worker: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, original = [], Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda *given: (written.append(1), original(*given))[1])
    run_cell(cell(), saving(worker, minutes, epochs))
    assert len(written) == saves
    assert len(files(worker)) == (saves > 0)  # a new one replaces the one before


@pytest.fixture
def left(worker: WorkerContext, killer: Killer) -> Path:
    """The checkpoint of a cell that was killed."""
    assert run_until_killed([cell()], saving(worker), killer, 30)
    (path,) = files(worker)
    return path


def unused(worker: WorkerContext, **changes: Any) -> str:
    """Run the cell, which must start anew; return the reason in its record."""
    record = run_cell(cell(), saving(worker, **changes))
    assert record.error is None
    assert record.result == run_cell(cell(), worker).result
    assert record.provenance.resumed == 0
    (reason,) = record.provenance.warnings
    return reason


@pytest.mark.parametrize("place", [0.0, 0.01, 0.3, 0.7, 1.0])
def test_a_checkpoint_with_one_wrong_bit_is_not_used(place: float, left: Path, worker: WorkerContext) -> None:
    content = bytearray(left.read_bytes())
    content[round(place * (len(content) - 1))] ^= 16
    left.write_bytes(content)
    assert "is damaged" in unused(worker)


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"{}", b"\xff" * 1000])
def test_a_file_that_is_no_checkpoint_is_not_used(content: bytes, left: Path, worker: WorkerContext) -> None:
    left.unlink()
    (left.parent / f"{sha256(content).hexdigest()}.safetensors").write_bytes(content)
    assert "is not readable" in unused(worker)


def test_a_cut_checkpoint_is_not_used(left: Path, worker: WorkerContext) -> None:
    left.write_bytes(left.read_bytes()[:-100])
    assert "is damaged" in unused(worker)


def test_the_checkpoint_of_another_cell_is_not_used(left: Path, worker: WorkerContext) -> None:
    other = cell(seed=7)
    left.parent.rename(left.parent.with_name(key_of(other)))
    record = run_cell(other, saving(worker))
    assert record.provenance.warnings == (f"a checkpoint was not used: it is of cell {key_of(cell())}",)
    assert record.result == run_cell(other, worker).result


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("torch", lambda patch: patch.setattr(torch, "__version__", "2.0.0")),
        ("device", lambda patch: patch.setattr(record_of_cells, "_processor", lambda: "cpu (Z80)")),
        ("vectors", lambda patch: patch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NO")),
        ("synflow_bench", lambda patch: patch.setattr(record_of_cells, "__version__", "0.0.1")),
    ],
)
def test_a_checkpoint_of_other_software_or_hardware_is_not_used(
    name: str,
    change: Callable[[pytest.MonkeyPatch], None],
    left: Path,
    worker: WorkerContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    change(monkeypatch)
    assert f"it was made with {name} " in unused(worker)


def test_a_checkpoint_of_other_threads_is_not_used(left: Path, worker: WorkerContext) -> None:
    assert "it was made with threads 1; this is 2" in unused(worker, threads=2)


def test_a_checkpoint_whose_network_has_changed_is_not_used(
    left: Path, worker: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wider(input_shape: tuple[int, ...], num_classes: int) -> torch.nn.Module:
        nn = torch.nn
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 21), nn.ReLU(), nn.Linear(21, num_classes))

    monkeypatch.setattr(context, "build_network", lambda _, *rest: build_network(wider, *rest))
    assert "another network" in unused(worker)


def test_a_checkpoint_of_other_examples_is_not_used(
    left: Path, worker: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    squares = worker.host.datasets.get("squares")
    load = squares.load

    def brighter(*given: Any, **named: Any) -> Splits:
        splits = load(*given, **named)
        return Splits(Split(splits.train.images + 1, splits.train.labels), splits.test)

    monkeypatch.setattr(squares, "load", brighter)
    worker.close()
    assert "examples of the dataset have changed" in unused(worker)


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> None:
    """Replace a checkpoint by one with another state and other tensors, and the right checksum."""
    with safe_open(str(path), "pt") as opened:
        state = json.loads(opened.metadata()["state"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(state, tensors)
    content = save(tensors, {"state": json.dumps(state)})
    path.unlink()
    (path.parent / f"{sha256(content).hexdigest()}.safetensors").write_bytes(content)


def without(part: str) -> Callable[[Any, dict[str, torch.Tensor]], object]:
    return lambda _, tensors: [tensors.pop(name) for name in list(tensors) if name.startswith(part)]


def with_place(**changes: Any) -> Callable[[dict[str, Any], Any], object]:
    return lambda state, _: state["position"].update(changes)


ODD: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    **{f"no {part}": without(part) for part in ("masks/", "model/", "optimizer/", "random/", "loss/")},
    "no global generator": without("random/torch"),
    "a cut mask": lambda _, tensors: tensors.update({n: tensors[n][1:] for n in tensors if n[:2] == "ma"}),
    "masks of another type": lambda _, tensors: tensors.update(
        {n: tensors[n].float() for n in tensors if n.startswith("masks/")}
    ),
    "momentum of another shape": lambda _, tensors: tensors.update(
        {n: torch.zeros(3) for n in tensors if n.startswith("optimizer/")}
    ),
    "a generator of another size": lambda _, tensors: tensors.update({"random/data": torch.zeros(3)}),
    "no pruning": lambda state, _: state.update(pruned=[]),
    "a shape below zero": lambda state, _: state["pruned"][0]["shapes"].update(x=[-1]),
    "seconds of infinity": lambda state, _: state.update(seconds=float("inf")),
    "resumed -1 times": lambda state, _: state.update(resumed=-5),
    "a later epoch": with_place(epoch=4),
    "an epoch after the last": with_place(epoch=10**9),
    "an epoch before the first": with_place(epoch=0),
    "a later batch": with_place(batches=4),
    "no curve": with_place(curve=[]),
    "a finished training": lambda state, _: state.update(
        trained=[{"curve": [], "final": {"top1": 1.0, "top5": None, "loss": 0.0}, "diverged": False}]
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_a_checkpoint_with_odd_content_and_a_right_checksum_is_not_used(
    name: str, left: Path, worker: WorkerContext
) -> None:
    rewrite(left, ODD[name])
    assert unused(worker).startswith("a checkpoint was not used: ")


def test_in_a_batch_only_the_cell_with_an_odd_checkpoint_begins_anew(
    worker: WorkerContext, killer: Killer
) -> None:
    cells = [cell(seed=seed) for seed in range(3)]
    assert run_until_killed(cells, saving(worker), killer, 30)
    (odd,) = (path for path in files(worker) if path.parent.name == key_of(cells[1]))
    rewrite(odd, without("loss/"))
    records = run_cells(cells, saving(worker), lambda *_: None)
    assert [record.provenance.resumed for record in records] == [1, 0, 1]
    assert [len(record.provenance.warnings) for record in records] == [0, 1, 0]
    assert [record.result for record in records] == [run_cell(each, worker).result for each in cells]


def test_a_cell_that_fails_after_it_was_resumed_fails_once_more_from_the_start(
    left: Path, worker: WorkerContext
) -> None:
    epochs: list[int] = []

    def on_epoch(point: Any) -> None:
        epochs.append(point.epoch)
        if point.epoch == 5:
            raise ValueError("at epoch 5")

    record = run_cell(cell(), saving(worker), on_epoch)
    assert record.status == "failed"
    assert record.provenance.resumed == 0
    assert epochs[-6:] == [0, 1, 2, 3, 4, 5]
    assert epochs.count(5) == 2
    assert left.parent.exists() is False


def test_of_two_checkpoints_the_later_one_is_used(worker: WorkerContext, killer: Killer) -> None:
    assert run_until_killed([cell()], saving(worker), killer, 20)
    (early,) = files(worker)
    content = early.read_bytes()
    assert run_until_killed([cell()], saving(worker), killer, 25)
    early.write_bytes(content)
    assert len(files(worker)) == 2
    record = run_cell(cell(), saving(worker))
    assert record.result == run_cell(cell(), worker).result
    assert resumed(record) == 2


def test_a_folder_that_cannot_be_written_costs_the_checkpoint_only(worker: WorkerContext) -> None:
    (worker.data_root / "checkpoints").write_text("a file")
    record = run_cell(cell(), saving(worker))
    assert record.result == run_cell(cell(), worker).result
    (warning,) = record.provenance.warnings
    assert warning.startswith("no checkpoint could be written: cannot write ")


@pytest.mark.parametrize(("error", "kept"), [(ValueError, False), (MemoryError, True)])
def test_a_failed_cell_keeps_its_checkpoint_only_if_the_machine_is_to_blame(
    error: type[Exception], kept: bool, worker: WorkerContext
) -> None:
    def on_epoch(point: Any) -> None:
        if point.epoch == 3:
            raise error("at epoch 3")

    assert run_cell(cell(), saving(worker), on_epoch).status == "failed"
    assert bool(files(worker)) == kept
    record = run_cell(cell(), saving(worker))
    assert record.result == run_cell(cell(), worker).result
    assert resumed(record) == kept


def test_parts_of_files_that_a_kill_has_left_are_deleted(left: Path, worker: WorkerContext) -> None:
    part = left.parent / ".left-1-a.tmp"
    part.touch()
    stopping = saving(worker)
    stopping.stop.request()
    with pytest.raises(CellInterrupted):
        run_cell(CELLS["dropout"], stopping)
    assert part.exists()  # that of another cell
    again = saving(worker)
    with pytest.raises(CellInterrupted):
        run_cell(cell(), again, lambda _: again.stop.request())
    assert not part.exists()


def test_a_discarded_checkpoint_leaves_no_file_or_folder(left: Path, worker: WorkerContext) -> None:
    (left.parent / ".left-1-a.tmp").touch()
    Checkpoints.of(worker.data_root).discard(key_of(cell()))
    assert not (worker.data_root / "checkpoints").exists()


def test_a_checkpoint_has_no_code(left: Path) -> None:
    """It is a safetensors file: its header is JSON, and the rest numbers."""
    content = left.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    ends = [header[name]["data_offsets"][1] for name in header if name != "__metadata__"]
    assert max(ends) == len(content) - 8 - size
    assert json.loads(header["__metadata__"]["state"])["key"] == key_of(cell())


@pytest.mark.slow
def test_two_hundred_kills_of_a_process_lose_nothing(worker: WorkerContext) -> None:
    """Forked processes run the cell, and each is killed at a random time; then another one continues."""
    chosen = CELLS["rewinding to a step"]
    started = time.monotonic()
    whole = run_cell(chosen, saving(worker))
    seconds = time.monotonic() - started
    Checkpoints.of(worker.data_root).discard(whole.key)
    draw, continued, killed = random.Random(0), 0, 0  # noqa: S311
    while killed < 200:
        child, _ = forked(chosen, worker)
        time.sleep(draw.uniform(0, 1.2 * seconds))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            Checkpoints.of(worker.data_root).discard(whole.key)
            continue
        killed += 1
        child, pipe = forked(chosen, worker)
        with os.fdopen(pipe) as file:
            record = Record.model_validate_json(file.read())
        os.waitpid(child, 0)
        continued += resumed(record)
        assert record.result == whole.result
        Checkpoints.of(worker.data_root).discard(whole.key)
        assert not (worker.data_root / "checkpoints").exists()
    assert continued > 100


def forked(chosen: Cell, worker: WorkerContext) -> tuple[int, int]:
    """Start a process that writes the record of the cell to a pipe; return its id and the pipe."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        return child, reading
    try:
        os.write(writing, run_cell(chosen, saving(worker)).to_json().encode())
    finally:
        os._exit(0)
