"""Checkpoints of running cells: files from which an interrupted cell continues, and gets the same record.

A checkpoint has what a cell has computed so far: the results of its finished trainings and prunings, and a
snapshot of the training in progress. A resumed cell runs its protocol again from the beginning, with these
results in place of the work.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, NonNegativeFloat
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from synflow_bench.errors import one_line
from synflow_bench.files import open_regular, remove_stale, write_atomically
from synflow_bench.pruning import Masks, Pruned
from synflow_bench.records import Seconds
from synflow_bench.suites import Count
from synflow_bench.training import Snapshot, Trained, Training, TrainingPlace, can_resume

_LAYOUT = 2
"""The version of the layout of the files."""


class CellInterrupted(BaseException):
    """A cell that ends because a stop was requested, after its checkpoint was written.

    It is no error, and has no record: whoever handles errors of cells must let it pass.
    """


class StopRequest:
    """A request that this process stops, which may come from a signal handler at any time.

    Running cells write a checkpoint before their next training step and raise `CellInterrupted`.

    Attributes:
        requested: True once the stop is requested.
        has_progress: True once the running cells have begun to train: before, there is nothing to save.
    """

    requested = False
    has_progress = False

    def request(self) -> None:
        """Ask for the stop."""
        self.requested = True


class UnusableCheckpointError(Exception):
    """A checkpoint that a cell cannot continue from; the message is the reason."""


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of a results folder, in a folder per cell, and how often running cells are saved.

    Attributes:
        folder: The folder of all checkpoints, `checkpoints` in the results folder.
        minutes: The minutes between two checkpoints of a cell; 0 for no limit of time.
        epochs: The epochs between two checkpoints of a cell; 0 for any number.
    """

    folder: Path
    minutes: float = 10.0
    epochs: int = 0

    @classmethod
    def of(cls, results: Path, *, minutes: float = 10.0, epochs: int = 0) -> Checkpoints:
        """Return the checkpoints of a results folder."""
        return cls(results / "checkpoints", minutes, epochs)

    def load(
        self, key: str, made_by: Mapping[str, Any]
    ) -> tuple[tuple[CellState, Journal] | None, list[str]]:
        """Return the state and the journal of the cell `key`, if it has a checkpoint that can be used here.

        Args:
            key: The key of the cell.
            made_by: The software and hardware of this process, on which the bits of results depend.

        Returns:
            What the latest checkpoint has, and the reasons for which others are not used.
        """
        usable, reasons = [], []
        for path in self._files(key):
            try:
                saved = SavedCell.read(path, key, made_by)
                usable.append((saved.state, Journal.of(saved)))
            except UnusableCheckpointError as error:
                reasons.append(str(error))
            except Exception as error:  # files of strangers may hold anything
                reasons.append(f"{path.name!r} is not readable: {one_line(error)}")
        return max(usable, key=lambda each: each[0].order, default=None), reasons

    def save(self, saved: SavedCell) -> None:
        """Write a checkpoint; older ones of the cell, and parts that a kill has left, are deleted after that.

        Raises:
            RecordError: It cannot be written.
        """
        content = saved.to_bytes()
        older = self._files(saved.state.key)
        path = self.folder / saved.state.key / f"{sha256(content).hexdigest()}.safetensors"
        write_atomically(path, content)
        for other in older:
            if other != path:
                other.unlink(missing_ok=True)
        remove_stale(path.parent)

    def discard(self, key: str, *, until: float = math.inf) -> None:
        """Delete the checkpoints of the cell `key`, unless one is newer than `until`.

        Args:
            key: The key of the cell.
            until: A time by the clock of the file system.
        """
        for path in self._files(key) if until < math.inf else ():
            with suppress(OSError):
                if path.stat().st_mtime > until:
                    return
        shutil.rmtree(self.folder / key, ignore_errors=True)
        with suppress(OSError):  # other cells have some
            self.folder.rmdir()

    def _files(self, key: str) -> list[Path]:
        return sorted((self.folder / key).glob("[!.]*.safetensors"))


class PrunedState(BaseModel):
    """A finished pruning, except for its masks.

    Attributes:
        shapes: The shapes of the masks, by name.
        passes: The forward passes of one example that it has cost.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    score_dtype: str
    warnings: tuple[str, ...]
    seconds: Seconds
    left_out: tuple[str, ...]
    shapes: dict[str, tuple[Count, ...]]
    passes: NonNegativeFloat


class CellState(BaseModel):
    """The state of a running cell, except for its tensors: the JSON in a checkpoint.

    Attributes:
        layout: The version of this layout.
        key: The key of the cell.
        made_by: The software and hardware, on which the bits of results depend.
        data: The sha256 of the examples.
        seconds: The time of the cell without that of the training in progress.
        resumed: The number of times that the cell was resumed before.
        trained: The finished trainings.
        pruned: The finished prunings.
        position: The place of the training in progress.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: int = _LAYOUT
    key: str
    made_by: dict[str, Any]
    data: str | None
    seconds: Seconds
    resumed: Count
    trained: tuple[Trained, ...]
    pruned: tuple[PrunedState, ...]
    position: TrainingPlace

    @property
    def order(self) -> tuple[int, int, int]:
        """A later state of a cell has a larger one."""
        return len(self.trained), self.position.epoch, self.position.batches


@dataclass(frozen=True)
class SavedCell:
    """A checkpoint in memory.

    Attributes:
        state: All but the tensors.
        tensors: Those of the snapshot, and the masks of the prunings, with eight entries in a byte.
    """

    state: CellState
    tensors: Mapping[str, Tensor]

    @property
    def snapshot(self) -> Snapshot:
        """The state of the training in progress."""
        return Snapshot(self.state.position, self.tensors)

    @property
    def pruned(self) -> list[tuple[Pruned, float]]:
        """The finished prunings and their seconds; the masks are on the CPU.

        Raises:
            Exception: The masks are missing, or have other shapes.
        """
        found = []
        for index, each in enumerate(self.state.pruned):
            masks = {
                name: _unpacked(self.tensors[f"masks/{index}/{name}"], shape)
                for name, shape in each.shapes.items()
            }
            kept = Masks(masks, left_out=each.left_out)
            pruned = Pruned(kept, each.score_dtype, each.warnings, each.passes)
            found.append((pruned, each.seconds))
        return found

    def to_bytes(self) -> bytes:
        """Return the content of the file."""
        plain = torch.contiguous_format
        copied = {
            name: tensor.detach().to("cpu", copy=True, memory_format=plain)
            for name, tensor in self.tensors.items()
        }
        return save(copied, {"state": json.dumps(self.state.model_dump())})

    @classmethod
    def read(cls, path: Path, key: str, made_by: Mapping[str, Any]) -> SavedCell:
        """Read a file.

        Raises:
            UnusableCheckpointError: It is damaged, of another cell, or of other software or hardware.
            Exception: Any other error, where the content is not that of a checkpoint.
        """
        _check_content(path)
        with safe_open(str(path), "pt") as opened:
            given = json.loads((opened.metadata() or {})["state"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        _check_origin(given, key, made_by)
        return cls(CellState.model_validate(given), tensors)


def _check_content(path: Path) -> None:
    with open_regular(path) as file:
        if file_digest(file, "sha256").hexdigest() != path.stem:
            raise UnusableCheckpointError(f"{path.name!r} is damaged")


def _check_origin(given: Mapping[str, Any], key: str, made_by: Mapping[str, Any]) -> None:
    if given["layout"] != _LAYOUT:
        raise UnusableCheckpointError(f"it has layout {given['layout']}, not {_LAYOUT}")
    if given["key"] != key:
        raise UnusableCheckpointError(f"it is of cell {given['key']}")
    for name in {**made_by, **given["made_by"]}:
        theirs, ours = given["made_by"].get(name), made_by.get(name)
        if theirs != ours:
            raise UnusableCheckpointError(f"it was made with {name} {theirs}; this is {ours}")


def _packed(mask: Tensor) -> Tensor:
    return torch.from_numpy(np.packbits(mask.cpu().numpy().reshape(-1)))


def _unpacked(packed: Tensor, shape: tuple[int, ...]) -> Tensor:
    size = math.prod(shape)
    if packed.shape != (-(-size // 8),):
        raise UnusableCheckpointError(f"it has {len(packed)} bytes for a mask of shape {shape}")
    bits = np.unpackbits(packed.numpy(), count=size)
    return torch.from_numpy(bits).reshape(shape).bool()


@dataclass
class Journal:
    """The finished trainings and prunings of a running cell, in order; a resumed cell takes its from here.

    Attributes:
        trained: The finished trainings.
        pruned: The finished prunings, with their seconds.
        snapshot: The state from which the first training that is not finished continues.
        data: The sha256 of the examples that the finished trainings have had.
    """

    trained: list[Trained] = field(default_factory=list)
    pruned: list[tuple[Pruned, float]] = field(default_factory=list)
    snapshot: Snapshot | None = None
    data: str | None = None
    _trainings: int = 0
    _prunings: int = 0

    @classmethod
    def of(cls, saved: SavedCell) -> Journal:
        """Return the journal of a saved cell.

        Raises:
            Exception: It has no masks where it should.
        """
        return cls(list(saved.state.trained), saved.pruned, saved.snapshot, saved.state.data)

    def prune(self, compute: Callable[[], Pruned], masks: Masks) -> tuple[Pruned, float]:
        """Return the next pruning and its seconds; it is computed if it is not finished already.

        Args:
            compute: Prunes the network.
            masks: The masks before.

        Raises:
            UnusableCheckpointError: The finished pruning is missing, or of another network.
        """
        self._prunings += 1
        if self._prunings > len(self.pruned):
            if self.snapshot is not None:  # the trainings before were not made
                raise UnusableCheckpointError("a pruning is missing")
            started = time.perf_counter()
            pruned = compute()
            self.pruned.append((pruned, time.perf_counter() - started))
            return self.pruned[-1]
        pruned, seconds = self.pruned[self._prunings - 1]
        if {n: m.shape for n, m in pruned.masks.items()} != {n: m.shape for n, m in masks.items()}:
            raise UnusableCheckpointError("its masks are those of another network")
        device = next(iter(masks.values())).device
        return replace(pruned, masks=pruned.masks.to(device)), seconds

    def finished(self, training: Training) -> Trained | None:
        """Return the result of the next training, if it is finished already.

        Its network is not trained, but the one to rewind to is set.
        """
        if self._trainings == len(self.trained) or self.snapshot is None:
            return None
        if training.rewind is not None:
            training.rewind.load(self.snapshot)
        self._trainings += 1
        return self.trained[self._trainings - 1]

    def resumed(self, training: Training, data: str | None) -> Training:
        """Return the training with the state from which it continues, if there is one.

        Args:
            training: The first one that is not finished.
            data: The sha256 of its examples.

        Raises:
            UnusableCheckpointError: The state is that of another training, or of other examples.
        """
        if self.snapshot is None:
            return training
        if self.data != data:
            raise UnusableCheckpointError("the examples of the dataset have changed since then")
        if not self.snapshot.fits(training.model):
            raise UnusableCheckpointError("its tensors are those of another network")
        if not can_resume(training, self.snapshot):
            raise UnusableCheckpointError("its state is that of another training")
        snapshot, self.snapshot = self.snapshot, None
        return replace(training, resume=snapshot)

    def add(self, trained: Trained) -> None:
        """Add a training that has finished."""
        self.trained.append(trained)
        self._trainings += 1

    def saved(
        self,
        snapshot: Snapshot,
        *,
        key: str,
        made_by: Mapping[str, Any],
        data: str | None,
        seconds: float,
        resumed: int,
    ) -> SavedCell:
        """Return a checkpoint of the cell with this state of its training in progress."""
        state = CellState(
            key=key,
            made_by=dict(made_by),
            data=data,
            seconds=seconds,
            resumed=resumed,
            trained=tuple(self.trained),
            pruned=tuple(
                PrunedState(
                    score_dtype=pruned.score_dtype,
                    warnings=pruned.warnings,
                    seconds=taken,
                    left_out=pruned.masks.left_out,
                    shapes={name: tuple(mask.shape) for name, mask in pruned.masks.items()},
                    passes=pruned.passes,
                )
                for pruned, taken in self.pruned
            ),
            position=snapshot.position,
        )
        masks = {
            f"masks/{index}/{name}": _packed(mask)
            for index, (pruned, _) in enumerate(self.pruned)
            for name, mask in pruned.masks.items()
        }
        return SavedCell(state, {**snapshot.tensors, **masks})
