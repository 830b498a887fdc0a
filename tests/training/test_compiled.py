"""Networks that are compiled for their training learn what they learn otherwise, within rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.errors import SuiteError
from synflow_bench.suites import Recipe
from synflow_bench.training import Examples, Streams, Trained, Training, is_stacked, train
from synflow_bench.training.compiled import CompiledNetwork
from synflow_bench.training.normalisation import Normalisation
from synflow_bench.training.resident import ResidentSplit


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What torch's compiler was asked for and what went through it, with nothing compiled."""
    seen: list[Any] = []

    def compiled(model: nn.Module, **how: Any) -> Callable[[Tensor], Tensor]:
        seen.append(how)

        def forward(inputs: Tensor) -> Tensor:
            seen.append(len(inputs))
            output: Tensor = model(inputs)
            return output

        return forward

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(torch.compiler, "reset", lambda: seen.append("reset"))
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: seen.append("begin"))
    return seen


def network(device: str = "cpu") -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
        return nn.Sequential(*layers).to(device)


def training(examples: Examples, device: str = "cpu", **recipe: Any) -> Training:
    """A third of the last layer's weights is kept. Of 70 examples, the last batch of an epoch has 6."""
    streams = Streams(torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))
    masks = {"4.weight": torch.arange(48, device=device).view(3, 16) % 3 == 0}
    how = Recipe(**{"epochs": 2, "batch_size": 16, "lr": 0.05, "gradient_clip": 1.0, **recipe})
    return Training(network(device), masks, how, examples, streams)


def losses(trained: Trained) -> list[float | None]:
    return [loss for point in trained.curve[1:] for loss in (point.train_loss, point.test_loss)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "rounding"),
    [({}, 1e-4), ({"precision": "bf16", "channels_last": True}, 0.02)],
    ids=["fp32", "bf16, channels last"],
)
def test_a_compiled_training_is_the_plain_one_within_rounding(
    examples: Examples, how: dict[str, Any], rounding: float
) -> None:
    plain, compiled = training(examples, **how), training(examples, **how, compile="yes")
    expected, found = train(plain), train(compiled)
    assert (expected.engine, found.engine) == ("eager", "compiled")
    assert losses(found) == pytest.approx(losses(expected), rel=rounding)
    ours, theirs = compiled.model.state_dict(), plain.model.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=rounding, atol=rounding)
    assert not ours["4.weight"][~compiled.masks["4.weight"]].any()


def test_only_full_batches_go_through_the_compiler(examples: Examples, calls: list[Any]) -> None:
    found = train(training(examples, compile="yes"))
    assert calls == ["reset", {"dynamic": False, "mode": "default"}, *[16] * 8]
    assert losses(found) == losses(train(training(examples)))


def test_where_no_batch_is_full_all_examples_are_one(examples: Examples, calls: list[Any]) -> None:
    train(training(examples, compile="yes", batch_size=128))
    assert calls[2:] == [70, 70]


def test_every_forward_pass_begins_a_step_of_cuda_graphs(calls: list[Any]) -> None:
    compiled = CompiledNetwork(network(), 4, graphs=True)
    for count in (4, 3):
        compiled(torch.zeros(count, 1, 4, 4))
    assert calls == ["reset", {"dynamic": False, "mode": "reduce-overhead"}, "begin", 4, "begin"]


def test_without_the_switch_the_compiler_is_left_alone(examples: Examples, calls: list[Any]) -> None:
    train(training(examples))
    assert calls == []


def test_a_compiled_network_is_not_stacked(
    examples: Examples, streams: Streams, network: nn.Module, recipe: Recipe
) -> None:
    compiled = recipe.model_copy(update={"compile": "yes"})
    assert is_stacked(Training(network, {}, recipe, examples, streams))
    assert not is_stacked(Training(network, {}, compiled, examples, streams))


def test_cuda_graphs_are_refused_where_there_are_none(examples: Examples) -> None:
    with pytest.raises(SuiteError, match=r"^compile 'cuda-graphs' has no effect on device 'cpu'; take .*$"):
        train(training(examples, compile="cuda-graphs"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none")
@pytest.mark.parametrize("compiled", ["yes", "cuda-graphs"])
def test_a_compiled_training_on_a_gpu_is_the_plain_one_within_rounding(
    make_split: Callable[..., ResidentSplit], compiled: str
) -> None:
    train_split, test_split = (moved(make_split(count, count), "cuda") for count in (70, 30))
    examples = Examples(train_split, None, test_split, None)
    expected = train(training(examples, "cuda", epochs=4))
    found = train(training(examples, "cuda", epochs=4, compile=compiled))
    assert losses(found) == pytest.approx(losses(expected), rel=1e-2)


def moved(split: ResidentSplit, device: str) -> ResidentSplit:
    normalise = Normalisation(split.normalise.scale.to(device), split.normalise.shift.to(device))
    return ResidentSplit(split.images.to(device), split.labels.to(device), normalise)
