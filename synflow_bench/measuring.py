"""Measured columns of a leaderboard: size and speed of compact networks, on the machine of this process.

A measurement is a file in the folder `measured` beside the records, and no part of them. Its name is a digest
of everything on which it depends: the masks, the network, the machine and the versions. So it is made once.
"""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from synflow_bench.errors import HandledError, RecordError, UsageError, count, one_line, printable
from synflow_bench.exporting import BATCHES, check_format, measure_latencies, one_thread, stand_in
from synflow_bench.exporting.formats import Run, run_network, write_onnx
from synflow_bench.exporting.networks import smaller, with_masks
from synflow_bench.exporting.state_dict import state_file
from synflow_bench.files import read_regular, write_atomically
from synflow_bench.leaderboard import Board, Leaderboard, MeasuredPoint
from synflow_bench.leaderboard.build import is_severed
from synflow_bench.leaderboard.formatting import compression, compressions
from synflow_bench.leaderboard.measured import Place, with_measurements
from synflow_bench.leaderboard.statistics import mean
from synflow_bench.protocols import build_network, plugins_of, provenance_of
from synflow_bench.pruning import in_eval_mode
from synflow_bench.records import Record, Result, read_record
from synflow_bench.recovery import Recovery, check_repeatable
from synflow_bench.suites import Setting, canonical

REVISION = 2
"""Raise it when the measurement of an unchanged network would be another."""

SECONDS = 1.0
"""The seconds for the runs of one pair of networks at one batch size."""


class Measurement(BaseModel):
    """The measurement of one network, as its file holds it.

    Attributes:
        machine: The processor and the versions of the libraries.
        date: The day, as `2026-01-31`.
        whole_bytes: The bytes of the tensors of the whole network in a file.
        compact_bytes: The same without dead units.
        seconds: The median seconds of the whole network and of the compact one, by runtime and batch size, as
            `torch 64`; None where both are the same network.
        hindrance: What keeps all dead units in the network, and the reason why onnxruntime is missing.
        difference: The difference between the masks and those of the record, if there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    date: str
    whole_bytes: int
    compact_bytes: int
    seconds: dict[str, tuple[float, float] | None]
    hindrance: str | None = None
    difference: str | None = None

    @property
    def faster(self) -> dict[str, float]:
        """The factors by which the compact network is faster."""
        return {name: each[0] / each[1] if each else 1.0 for name, each in self.seconds.items()}


@dataclass(frozen=True)
class Whole:
    """A network with its initial weights, and how it is run.

    Attributes:
        model: The network in evaluation mode.
        inputs: Inputs (N, ...) for it.
        runs: The function that runs it, by runtime.
        problem: The reason why a runtime is missing.
    """

    model: nn.Module
    inputs: Tensor
    runs: Mapping[str, Run]
    problem: str | None = None


@dataclass
class Measuring:
    """The measurement of the boards of a results folder.

    Attributes:
        recovery: Gives masks; it must not train.
        seeds: The number of seeds of each row and compression: the smallest ones that finished.
        report: Called with a line before a network is measured.
        problems: One line per row with networks that could not be measured.
        machine: The processor and the versions of this process.
    """

    recovery: Recovery
    seeds: int = 1
    report: Callable[[str], None] = lambda _: None
    problems: list[str] = field(default_factory=list)
    machine: str = field(default_factory=lambda: this_machine())
    _wholes: dict[str, Whole] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the measurements."""
        return self.recovery.store.root / "measured"

    def measure(self, leaderboard: Leaderboard) -> Leaderboard:
        """Return a leaderboard with measured points; what was measured before is read.

        Raises:
            RecordError: The results folder cannot be written.
        """
        found: dict[Place, MeasuredPoint] = {}
        lines: dict[str, list[str]] = {}
        total = sum(1 for board in leaderboard.boards for _ in self._cells(board))
        done = 0
        for board in leaderboard.boards:
            measured: dict[Place, dict[int, Measurement]] = defaultdict(dict)
            failures: dict[tuple[str, str], list[float]] = defaultdict(list)
            for label, result in self._cells(board):
                done += 1
                cell = result.cell
                title = f"{done} of {total}: {board.heading} / {label} / {compression(cell.compression)}"
                try:
                    measured[board.id, label, cell.compression][cell.seed] = self._one(result, title)
                except _NotMeasuredError as error:
                    failures[label, str(error)].append(cell.compression)
            found |= {place: _point(each) for place, each in measured.items()}
            failed = [
                f"{label}: not measured at compression {compressions(dict.fromkeys(places))} ({reason})"
                for (label, reason), places in failures.items()
            ]
            self.problems += [f"{board.heading} / {line}" for line in failed]
            lines[board.id] = [*_notes(measured), *failed]
        return with_measurements(leaderboard, found, lines)

    def _cells(self, board: Board) -> Iterator[tuple[str, Result]]:
        """Yield the results to measure with the labels of their rows."""
        for row in board.shown:
            for point in () if row.is_dense else row.points:
                finished = [each for each in point.results if each.cell.seed in point.top1]
                connected = [each for each in finished if each.metrics and not is_severed(each.metrics)]
                yield from ((row.label, result) for result in connected[: self.seeds])

    def _one(self, result: Result, title: str) -> Measurement:
        """Return the measurement of one network; it is written before the next one begins."""
        try:
            record = read_record(self.recovery.store.path(result.cell))
            path = self._path(record)
            if path.exists():
                return _read(path)
            self.report(f"measuring {title}")
            found = self._measured(record)
        except Exception as error:  # code of plugins may fail in any way; other networks go on
            reason = one_line(error, with_type=not isinstance(error, HandledError), first_line=True)
            raise _NotMeasuredError(printable(reason)) from error
        write_atomically(path, found.model_dump_json(indent=1) + "\n")
        return found

    def _path(self, record: Record) -> Path:
        """Return the file of a measurement; whatever could change it changes its name."""
        setting, revisions = record.cell.setting, record.cell.revisions
        network = [setting.dataset, setting.model.model_dump(mode="json"), revisions.dataset, revisions.model]
        plugin = plugins_of(record.cell, self.recovery.host).get("model")
        everything = canonical([record.masks, network, plugin, self.machine, REVISION])
        return self.folder / f"{sha256(everything.encode()).hexdigest()[:32]}.json"

    def _measured(self, record: Record) -> Measurement:
        check_repeatable(record, self.recovery.host, ("dataset", "model"))
        recovered = self.recovery.recover(record)
        whole = self._whole(record.cell.setting)
        network = with_masks(whole.model, recovered.masks)
        small, share, hindrance = smaller(network, recovered.masks, whole.inputs)
        if share < 1:
            seconds, reason = _seconds(whole, small)
        else:
            seconds = {f"{runtime} {batch}": None for runtime in whole.runs for batch in BATCHES}
            reason = hindrance or whole.problem
        return Measurement(
            machine=self.machine,
            date=provenance_of(torch.device("cpu"), 1, {}).created[:10],
            whole_bytes=len(state_file(whole.model)),
            compact_bytes=len(state_file(small, whole.model)),
            seconds=seconds,
            hindrance=reason,
            difference=recovered.difference,
        )

    def _whole(self, setting: Setting) -> Whole:
        """Return the whole network of a setting; only the latest one is kept."""
        name = canonical([setting.dataset, setting.model.model_dump(mode="json")])
        if name not in self._wholes:
            self._wholes.clear()
            self._wholes[name] = _built(self.recovery, setting)
        return self._wholes[name]


class _NotMeasuredError(HandledError):
    """A network that cannot be measured."""


def this_machine() -> str:
    """Describe the processor and the versions that a measurement depends on."""
    here = provenance_of(torch.device("cpu"), 1, {})
    onnx = f"onnxruntime {version('onnxruntime')}" if _has_onnx() else "without onnxruntime"
    return f"{here.device}, one thread, torch {here.torch}, {onnx}, synflow-bench {here.synflow_bench}"


def _has_onnx() -> bool:
    try:
        check_format("onnx")
    except UsageError:
        return False
    return True


def _read(path: Path) -> Measurement:
    try:
        return Measurement.model_validate_json(read_regular(path))
    except (OSError, ValidationError) as error:
        raise RecordError(f"cannot read the measurement {str(path)!r}; delete it") from error


def _built(recovery: Recovery, setting: Setting) -> Whole:
    dataset = recovery.host.dataset(setting.dataset, recovery.data_root)
    factory = recovery.host.models.get(setting.model.name)
    size = dataset.input_shape, dataset.num_classes
    model = in_eval_mode(build_network(factory, setting.model, *size, 0, torch.device("cpu")).model)
    inputs = stand_in(dataset.input_shape, max(BATCHES))
    runs: dict[str, Run] = {"torch": partial(run_network, model)}
    problem = None
    if _has_onnx():
        try:
            runs["onnx"] = _onnx(model, inputs)
        except HandledError as error:
            problem = str(error)
    return Whole(model, inputs, runs, problem)


def _onnx(model: nn.Module, inputs: Tensor) -> Run:
    with tempfile.TemporaryDirectory() as folder:
        return write_onnx(model, Path(folder) / "network.onnx", inputs, None)


def _seconds(whole: Whole, small: nn.Module) -> tuple[dict[str, tuple[float, float] | None], str | None]:
    """Return the seconds of both networks by runtime and batch size, and why a runtime is missing."""
    pairs: dict[str, tuple[Run, Run]] = {"torch": (whole.runs["torch"], partial(run_network, small))}
    problem = whole.problem
    if "onnx" in whole.runs:
        try:
            pairs["onnx"] = whole.runs["onnx"], _onnx(small, whole.inputs)
        except HandledError as error:
            problem = str(error)
    with one_thread():
        found: dict[str, tuple[float, float] | None] = {
            f"{each.runtime} {each.batch}": (each.before, each.after)
            for runtime, pair in pairs.items()
            for each in measure_latencies(runtime, *pair, whole.inputs, BATCHES, SECONDS)
        }
    return found, problem


def _point(found: Mapping[int, Measurement]) -> MeasuredPoint:
    every = list(found.values())
    names = [name for name in every[0].seconds if all(name in each.seconds for each in every)]
    return MeasuredPoint(
        seeds=tuple(found),
        machine=every[0].machine,
        date=max(each.date for each in every),
        file=mean([each.whole_bytes / each.compact_bytes for each in every]),
        faster={name: mean([each.faster[name] for each in every]) for name in names},
    )


def _notes(measured: Mapping[Place, Mapping[int, Measurement]]) -> Iterator[str]:
    """Yield the lines below a board: where and what was measured, and what stays as it is."""
    every = [each for by_seed in measured.values() for each in by_seed.values()]
    if not every:
        return
    dates = sorted({each.date for each in every})
    days = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    seeds = sorted({seed for by_seed in measured.values() for seed in by_seed})
    yield (
        f"measured on {every[0].machine}, {days}, with initial weights of "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}; not part of any record"
    )
    for reason, number in Counter(each.hindrance for each in every if each.hindrance).items():
        yield f"{count(number, 'measured network')}: {reason}"
    if differing := sum(each.difference is not None for each in every):
        yield (
            f"{count(differing, 'measured network')} with masks that were made again, and that differ from "
            "those of their record"
        )
