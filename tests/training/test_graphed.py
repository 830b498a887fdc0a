"""Steps as graphs, with a recorder that runs the recorded step again in place of a CUDA device."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.suites import Recipe
from synflow_bench.training import Batch, Streams, Training, TrainingData, TrainingStep
from synflow_bench.training.graphed import WARM_UP, CudaGraphs, GraphedStep, Work, graphed, stream_of

LR = 0.125
"""A number that is the same in float32 and float64."""


class Again:
    """Records work by keeping it; what it would change meanwhile is restored, as in a recording."""

    def __init__(self, model: nn.Module, step: TrainingStep) -> None:
        self.model, self.step, self.ran, self.recorded = model, step, 0, 0

    def run(self, work: Work) -> Sequence[Tensor]:
        self.ran += 1
        return work()

    def record(self, work: Work) -> tuple[Callable[[], object], Sequence[Tensor]]:
        self.recorded += 1
        loss = self.undone(work)

        def replay() -> None:
            loss.copy_(work()[0])

        return replay, [loss]

    def undone(self, work: Work) -> Tensor:
        before, states = deepcopy(self.model.state_dict()), deepcopy(self.step.states())
        (loss,) = work()
        self.model.load_state_dict(before)
        self.step.restore(states)
        return loss


class Refuses(Again):
    def record(self, work: Work) -> tuple[Callable[[], object], Sequence[Tensor]]:
        self.undone(work)
        self.model[1].weight.grad = torch.full((12, 16), torch.nan)  # type: ignore[index, union-attr]
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


@pytest.fixture(params=["adam", "momentum"])
def training(
    request: pytest.FixtureRequest,
    network: nn.Module,
    masks: dict[str, Tensor],
    examples: TrainingData,
    streams: Streams,
) -> Training:
    recipe = Recipe(epochs=2, batch_size=16, lr=LR, optimizer=request.param)
    return Training(network, masks, recipe, examples, streams)


def batches(count: int = 8, last: int = 16) -> list[Batch]:
    draw = torch.Generator().manual_seed(0)
    sizes = [16] * (count - 1) + [last]
    return [
        Batch(torch.randn(size, 1, 4, 4, generator=draw), torch.arange(size) % 3, LR, index)
        for index, size in enumerate(sizes)
    ]


def pair(training: Training, kind: type[Again] = Again) -> tuple[TrainingStep, GraphedStep, Again]:
    """The plain step of a copy of the network, and the graphed one."""
    plain = TrainingStep.of(Training(deepcopy(training.model), training.masks, *rest(training)))
    step = TrainingStep.of(training)
    recorder = kind(training.model, step)
    return plain, GraphedStep(step, 16, recorder, training.model.zero_grad), recorder


def rest(training: Training) -> tuple[Recipe, TrainingData, Streams]:
    return training.recipe, training.examples, training.streams


def test_a_graph_is_recorded_once_and_trains_as_the_step_does(training: Training) -> None:
    plain, step, recorder = pair(training)
    for batch in batches():
        assert torch.equal(step([batch])[0], plain([batch])[0])
    assert (recorder.ran, recorder.recorded, step.engine) == (WARM_UP, 1, "graphed")
    for found, expected in zip(training.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_a_smaller_batch_is_trained_without_the_graph(training: Training) -> None:
    plain, step, _ = pair(training)
    for batch in [*batches(last=6), *batches()]:
        assert torch.equal(step([batch])[0], plain([batch])[0])
    assert training.model[1].weight.equal(plain.model[1].weight)  # type: ignore[index, operator, arg-type]


def test_the_learning_rate_of_every_step_reaches_the_graph(training: Training) -> None:
    plain, step, _ = pair(training)
    for index, batch in enumerate(batches()):
        changed = Batch(batch.inputs, batch.labels, LR / 2**index)
        assert torch.equal(step([changed])[0], plain([changed])[0])


def test_a_step_that_cannot_be_recorded_is_taken_as_it_is(training: Training) -> None:
    plain, step, _ = pair(training, Refuses)
    for batch in batches():
        assert torch.equal(step([batch])[0], plain([batch])[0])
    assert step.engine == "eager"
    assert step.refusal == "operation not permitted when stream is capturing"


@pytest.mark.parametrize("draw", [random.random, lambda: torch.rand(1)])
def test_a_network_that_draws_on_the_cpu_is_not_recorded(
    training: Training, draw: Callable[[], object]
) -> None:
    training.model.register_forward_hook(lambda *_: draw() and None)
    _, step, _ = pair(training)
    random.seed(0)
    states = []
    for batch in batches():
        step([batch])
        states.append((random.getstate(), torch.get_rng_state().tolist()))
    assert step.engine == "eager"
    assert step.refusal == "the network draws random numbers on the CPU"
    assert len({str(state) for state in states}) == len(states)


def test_on_a_cpu_a_step_stays_as_it_is(training: Training) -> None:
    step = TrainingStep.of(training)
    assert graphed(step, training) is step


class Capture:
    """A recording by torch whose end fails, as after work that waits for the device."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> None:
        torch.cuda.set_stream("the stream of the recording")  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        raise RuntimeError("operation failed due to a previous error during capture")


def test_a_recording_that_fails_leaves_its_stream_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = ["the stream of the process"]
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: "another stream")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", Capture)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)

    def waits() -> Sequence[Tensor]:
        raise RuntimeError("the network reads a number")

    with pytest.raises(RuntimeError, match="the network reads a number"):
        CudaGraphs(torch.device("cuda:0")).record(waits)
    assert streams[-1] == streams[0]
    with pytest.raises(RuntimeError, match="a previous error"):
        CudaGraphs(torch.device("cuda:0")).record(list)


@pytest.fixture(autouse=True)
def _no_stream_is_kept() -> Iterator[None]:
    yield
    stream_of.cache_clear()
