"""Saved states: of a training, which continues from it with the same bits; of a network to rewind to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from synflow_bench.records import Epoch, Seconds
from synflow_bench.suites import Count

if TYPE_CHECKING:
    from synflow_bench.training.loop import Training

T = TypeVar("T")


class TrainingPlace(BaseModel):
    """The place of a training before one of its optimizer steps: all that a snapshot has besides tensors.

    Attributes:
        epoch: The epoch in progress, from 1.
        batches: The number of its batches that have been trained.
        seen: The number of their examples.
        lr: The learning rate of the last one.
        curve: The points of the epochs before.
        seconds: The wall time so far; a share of it, in a batch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epoch: Count
    batches: Count
    seen: Count
    lr: float
    curve: tuple[Epoch, ...]
    seconds: Seconds


@dataclass(frozen=True)
class Snapshot:
    """The state of a training before one of its optimizer steps.

    Attributes:
        position: The place of the training.
        tensors: The state in tensors, by the name of a part, a slash and a name: parameters and buffers
            (`model/`), the optimizer's (`optimizer/`), the states of random generators (`random/`; those of
            the data are from the beginning of the epoch), the sum of the epoch's losses (`loss/sum`), the
            network to rewind to (`rewind/`), if it has been saved, and the masks if they change (`changes/`).
            The training may still change them.
    """

    position: TrainingPlace
    tensors: Mapping[str, Tensor]

    def part(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one part, by the rest of their names."""
        prefix = f"{name}/"
        return {key.removeprefix(prefix): t for key, t in self.tensors.items() if key.startswith(prefix)}

    def fits(self, model: nn.Module) -> bool:
        """Return True if `model` has the parameters and buffers of this snapshot."""
        saved = {name: (tensor.shape, tensor.dtype) for name, tensor in self.part("model").items()}
        return saved == {name: (tensor.shape, tensor.dtype) for name, tensor in tensors_of(model).items()}


class SnapshotKeeper(Protocol):
    """Decides when snapshots are taken, and keeps them."""

    def is_due(self, *, epoch_begins: bool) -> bool:
        """Return True if trainings should be saved now, before a step; asked before every one."""

    def keep(self, saved: Sequence[tuple[Training, Snapshot]]) -> None:
        """Keep the snapshots of trainings that run in one batch; what it raises ends these trainings."""


@dataclass
class LoopState:
    """The place of a running training, kept by its loop; see `TrainingPlace` and `Snapshot`.

    Attributes:
        loss: The sum of the losses of the epoch's examples, on the device.
        generators: The states of the generators of the data at the beginning of the epoch.
    """

    loss: Tensor
    epoch: int = 0
    batches: int = 0
    seen: int = 0
    lr: float = 0.0
    curve: list[Epoch] = field(default_factory=list)
    generators: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, training: Training) -> LoopState:
        """Return the state from which `training` starts; its generators are set to it."""
        loss = torch.zeros((), device=training.examples.train.labels.device)
        if training.resume is None:
            return cls(loss)
        position, saved = training.resume.position, training.resume.part("random")
        training.streams.data.set_state(saved["data"])
        training.streams.augment.set_state(saved["augment"])
        loss.copy_(training.resume.tensors["loss/sum"])
        return cls(loss, position.epoch, position.batches, position.seen, position.lr, list(position.curve))

    def begin_epoch(self, training: Training) -> None:
        """Save the generators of the data, before the epoch draws from them."""
        streams = training.streams
        self.generators = {"data": streams.data.get_state(), "augment": streams.augment.get_state()}

    def end_epoch(self, point: Epoch) -> None:
        """Add a point to the curve, and go on to the next epoch."""
        self.curve.append(point)
        self.epoch = point.epoch + 1
        self.batches = self.seen = 0
        self.loss.zero_()

    def snapshot(self, training: Training, optimizer: Mapping[str, Tensor], seconds: float) -> Snapshot:
        """Take a snapshot of `training`, whose state of the optimizer is `optimizer`."""
        position = TrainingPlace(
            epoch=self.epoch,
            batches=self.batches,
            seen=self.seen,
            lr=self.lr,
            curve=tuple(self.curve),
            seconds=seconds,
        )
        parts = {
            "model": tensors_of(training.model),
            "optimizer": optimizer,
            "random": self.generators | _global_generators(self.loss.device),
            "loss": {"sum": self.loss},
            "rewind": training.rewind.tensors if training.rewind else {},
            "changes": training.changes.tensors() if training.changes else {},
        }
        named = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
        return Snapshot(position, named)


@torch.no_grad()
def restore_model(training: Training, snapshot: Snapshot) -> None:
    """Set the network of `training`, the one to rewind to and masks that change to those of `snapshot`."""
    saved = snapshot.part("model")
    for name, tensor in tensors_of(training.model).items():
        tensor.copy_(saved[name])
    if training.rewind is not None:
        training.rewind.load(snapshot)
    if training.changes is not None:
        training.changes.load(snapshot.part("changes"))


def restore_generators(snapshot: Snapshot, device: torch.device) -> None:
    """Set the global random generators of torch to those of `snapshot`."""
    saved = snapshot.part("random")
    torch.set_rng_state(saved["torch"])
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(saved[device.type])


def _global_generators(device: torch.device) -> dict[str, Tensor]:
    states = {"torch": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


class RewindPoint:
    """The parameters and buffers of a network after `step` optimizer steps of its first training.

    The state of the optimizer is not part of it.
    """

    def __init__(self, step: int) -> None:
        self.step = step
        self.tensors: dict[str, Tensor] = {}

    def watch(self, model: nn.Module, batches: Iterable[T], first_step: int) -> Iterator[T]:
        """Yield the same batches; save the state of `model` before that of the step, unless it is saved."""
        for step, batch in enumerate(batches, start=first_step):
            if step == self.step and not self.tensors:
                self.tensors = {name: tensor.detach().clone() for name, tensor in tensors_of(model).items()}
            yield batch

    def load(self, snapshot: Snapshot) -> None:
        """Take the saved state from a snapshot, if that has one."""
        self.tensors = snapshot.part("rewind")

    @torch.no_grad()
    def restore(self, model: nn.Module) -> None:
        """Copy the saved parameters and buffers into `model`.

        Raises:
            RuntimeError: No training has passed the step.
        """
        if not self.tensors:
            raise RuntimeError(f"no training has passed step {self.step}")
        for name, tensor in tensors_of(model).items():
            tensor.copy_(self.tensors[name])


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers of a network by name, those outside its `state_dict` included."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}
