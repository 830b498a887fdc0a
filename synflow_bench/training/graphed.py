"""Training steps as CUDA graphs: a device launches all kernels of a step as one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from synflow_bench.training.step import Batch, MaskedWeights, Step, TrainingStep

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synflow_bench.records import Engine
    from synflow_bench.training.loop import Training

Work = Callable[[], Sequence[Tensor]]
Replay = Callable[[], object]

WARM_UP = 3
"""The steps before a graph is recorded: libraries and the optimizer allocate their memory in the first."""


class Recorder(Protocol):
    """Records what a device does."""

    def run(self, work: Work) -> Sequence[Tensor]:
        """Do `work`, as it is done in a recording."""

    def record(self, work: Work) -> tuple[Replay, Sequence[Tensor]]:
        """Record `work` without doing it.

        Returns:
            A function that does the work again, and the tensors that each replay overwrites with results.

        Raises:
            RuntimeError: The work waits for the device, which no recording can.
        """


@cache
def stream_of(device: torch.device) -> torch.cuda.Stream:
    """Return the stream for recordings: one per device, because libraries keep memory for every stream."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class CudaGraphs:
    """Records CUDA graphs, on a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, stream_of(device)

    def run(self, work: Work) -> Sequence[Tensor]:
        """Do `work` on the stream, after all that was launched before and before all that follows."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            results = work()
        current.wait_stream(self._stream)
        return results

    def record(self, work: Work) -> tuple[Replay, Sequence[Tensor]]:
        """Record `work` as a CUDA graph.

        Raises:
            RuntimeError: The work waits for the device.
        """
        graph, current = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self._device)
        try:
            # Threads that load data may allocate memory meanwhile.
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                results = work()
        except RuntimeError as error:
            # torch stays on the stream of a recording whose end fails, and hides the error of the work.
            torch.cuda.set_stream(current)
            first = error.__context__
            raise first if isinstance(first, RuntimeError) else error from None
        return graph.replay, results


@dataclass
class GraphedStep:
    """A step that is recorded once and then launched as a whole; the arithmetic is that of the step.

    Python runs only while the graph is recorded. So a network that draws random numbers from generators on
    the CPU, or that waits for the device, is trained step by step. Batches of another size, such as the
    smaller last one of an epoch, are too.

    Attributes:
        step: The step, for which the learning rate is a number on the device.
        batch_size: The number of examples per batch in the graph.
        recorder: Records the graph.
        discard: Called after a recording that has ended in the middle of a step.
        refusal: The reason why there is no graph, if none could be recorded.
    """

    step: Step
    batch_size: int
    recorder: Recorder
    discard: Callable[[], object] = lambda: None
    refusal: str | None = None
    _warm_ups: int = 0
    _lr: Tensor | None = None
    _inputs: list[Batch] = field(default_factory=list)
    _replay: Replay | None = None
    _losses: Sequence[Tensor] = ()
    _replayed: bool = False

    @property
    def engine(self) -> Engine:
        """The name for records."""
        return "graphed" if self._replayed and self.step.engine == "eager" else self.step.engine

    @property
    def masked(self) -> Sequence[MaskedWeights]:
        """The masked weights of every training."""
        return self.step.masked

    def states(self) -> Sequence[dict[str, Tensor]]:
        """Return the state of the optimizer for every training."""
        return self.step.states()

    def restore(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Continue from such states, before the first step."""
        self.step.restore(states)

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """Train on batches of one size; the losses are valid until the next step."""
        if self._lr is None:
            self._lr = torch.zeros((), device=batches[0].inputs.device)
        self._lr.fill_(batches[0].lr)
        batches = [replace(batch, lr=self._lr) for batch in batches]
        if len(batches[0].labels) != self.batch_size or self.refusal is not None:
            return self.step(batches)
        if self._warm_ups < WARM_UP:
            self._warm_ups += 1
            return self.recorder.run(lambda: self.step(batches))
        if self._replay is None:
            self._record(batches)
        if self._replay is None:
            return self.step(batches)
        for kind in ("inputs", "labels"):
            given = [getattr(batch, kind) for batch in batches]
            torch._foreach_copy_([getattr(batch, kind) for batch in self._inputs], given)
        self._replay()
        self._replayed = True
        return self._losses

    def _record(self, batches: Sequence[Batch]) -> None:
        fixed = [
            replace(batch, inputs=batch.inputs.clone(), labels=batch.labels.clone()) for batch in batches
        ]
        before = _states_on_the_cpu()
        try:
            replay, losses = self.recorder.record(lambda: self.step(fixed))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self.refusal = str(error).partition("\n")[0]
            self.discard()
        else:
            if _same(before, _states_on_the_cpu()):
                self._inputs, self._replay, self._losses = fixed, replay, losses
            else:
                self.refusal = "the network draws random numbers on the CPU"
        _restore(before)


def graphed(step: Step, training: Training) -> Step:
    """Return `step` as a CUDA graph where the network is on a CUDA device and not compiled; else `step`.

    A training whose masks change takes its steps one by one.
    """
    device = next(training.model.parameters()).device
    if device.type != "cuda" or training.recipe.compile != "no" or training.changes is not None:
        return step
    size = min(training.recipe.batch_size, len(training.examples.train))
    recorder = CudaGraphs(device)
    if not isinstance(step, TrainingStep):  # others write their gradients anew in every step
        return GraphedStep(step, size, recorder)
    return GraphedStep(step, size, recorder, training.model.zero_grad)


def _states_on_the_cpu() -> tuple[Tensor, Any, Any]:
    return torch.get_rng_state(), random.getstate(), np.random.get_state()


def _same(first: tuple[Tensor, Any, Any], second: tuple[Tensor, Any, Any]) -> bool:
    of_torch, of_python, of_numpy = first
    same = torch.equal(of_torch, second[0]) and of_python == second[1]
    return same and all(np.array_equal(a, b) for a, b in zip(of_numpy, second[2], strict=True))


def _restore(states: tuple[Tensor, Any, Any]) -> None:
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
