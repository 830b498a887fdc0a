"""One optimizer step: optimizers by their definitions, exact masking, and compiled networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from synflow_bench.errors import SuiteError
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    MaskedWeights,
    Normalization,
    Precision,
    ResidentSplit,
    Streams,
    Trained,
    Training,
    TrainingData,
    TrainingStep,
    build_optimizer,
    is_batched,
    train,
)
from synflow_bench.training.step import CompiledNetwork, learning_rate, set_learning_rate


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"epochs": 10, "lr": 0.5, **fields})


def rates(chosen: Recipe, steps_per_epoch: int) -> list[float]:
    return [learning_rate(chosen, step, steps_per_epoch) for step in range(chosen.epochs * steps_per_epoch)]


def test_step_schedule_equals_torchs_multi_step() -> None:
    chosen = recipe(schedule="step", milestones=[3, 7], gamma=0.2)
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = optim.lr_scheduler.MultiStepLR(optimizer, [3, 7], 0.2)
    for epoch in range(10):
        assert learning_rate(chosen, epoch * 4 + 2, 4) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


def test_cosine_falls_from_the_full_rate_to_zero_over_all_steps() -> None:
    measured = rates(recipe(schedule="cosine"), 4)
    assert measured == pytest.approx([0.25 * (1 + math.cos(math.pi * step / 40)) for step in range(40)])


def test_warm_up_rises_linearly_then_the_schedule_takes_over() -> None:
    measured = rates(recipe(schedule="cosine", warmup_epochs=2), 5)
    assert measured[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert measured[10] == pytest.approx(0.5)
    assert measured[11:] == sorted(measured[11:], reverse=True)


def test_constant_stays() -> None:
    assert set(rates(recipe(), 3)) == {0.5}


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"optimizer": "sgd"}, lambda p: optim.SGD(p, 0.1, weight_decay=0.01)),
        ({"optimizer": "momentum"}, lambda p: optim.SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01)),
        ({"optimizer": "adam"}, lambda p: optim.Adam(p, 0.1, weight_decay=0.01)),
        ({"optimizer": "rmsprop"}, lambda p: optim.RMSprop(p, 0.1, weight_decay=0.01)),
    ],
)
def test_an_optimizer_is_the_plain_one_of_its_name(fields: dict[str, Any], reference: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(40, generator=draw)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    one = build_optimizer(recipe(lr=0.1, weight_decay=0.01, **fields), [ours])
    other = reference([theirs])
    for _ in range(5):
        gradient = torch.randn(40, generator=draw)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parameters_that_do_not_train_are_left_out_and_the_rate_reaches_every_group() -> None:
    parameters = [nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1), requires_grad=False)]
    optimizer = build_optimizer(recipe(optimizer="sgd"), parameters)
    assert [len(group["params"]) for group in optimizer.param_groups] == [1]
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25


RECIPES: list[dict[str, Any]] = [
    {"optimizer": name, "lr": lr, "weight_decay": decay, "gradient_clip": clip}
    for name, lr in (("sgd", 0.1), ("momentum", 0.05), ("adam", 0.01), ("rmsprop", 0.01))
    for decay, clip in ((0.0, None), (0.01, 0.5))
]


def batches(count: int = 6) -> list[tuple[Tensor, Tensor]]:
    draw = torch.Generator().manual_seed(9)
    return [
        (torch.randn(8, 1, 4, 4, generator=draw), torch.randint(3, (8,), generator=draw))
        for _ in range(count)
    ]


def train_with_forward_masks(model: nn.Module, masks: dict[str, Tensor], recipe: Recipe) -> dict[str, Tensor]:
    """The conventional way: weights are multiplied by their masks in every forward pass."""
    optimizer = build_optimizer(recipe, model.parameters())
    for inputs, labels in batches():
        masked = {n: p * masks[n] if n in masks else p for n, p in model.named_parameters()}
        cross_entropy(functional_call(model, masked, (inputs,)), labels).backward()
        if recipe.gradient_clip is not None:
            clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
    return {n: (p * masks[n] if n in masks else p).detach() for n, p in model.named_parameters()}


def step_of(model: nn.Module, masks: dict[str, Tensor], recipe: Recipe) -> TrainingStep:
    optimizer = build_optimizer(recipe, model.parameters())
    precision = Precision.of(recipe, torch.device("cpu"))
    return TrainingStep(model, optimizer, [MaskedWeights(model, masks)], recipe, precision)


@pytest.mark.parametrize("fields", RECIPES, ids=lambda f: f"{f['optimizer']}-{f['gradient_clip']}")
def test_it_equals_masking_in_the_forward_pass(
    network: nn.Module, masks: dict[str, Tensor], fields: dict[str, Any]
) -> None:
    recipe = Recipe(epochs=1, **fields)
    expected = train_with_forward_masks(deepcopy(network), masks, recipe)
    step = step_of(network, masks, recipe)
    for inputs, labels in batches():
        step([Batch(inputs, labels, recipe.lr)])
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name], rtol=1e-5, atol=1e-7, msg=name)


def test_masking_the_weights_alone_would_not_equal_it(network: nn.Module, masks: dict[str, Tensor]) -> None:
    """Under clipping, gradients of removed weights would enter the norm: why gradients are masked too."""
    recipe = Recipe(epochs=1, optimizer="sgd", lr=0.1, gradient_clip=0.5)
    expected = train_with_forward_masks(deepcopy(network), masks, recipe)
    optimizer, masked = build_optimizer(recipe, network.parameters()), MaskedWeights(network, masks)
    for inputs, labels in batches():
        cross_entropy(network(inputs), labels).backward()
        clip_grad_norm_(network.parameters(), 0.5)
        optimizer.step()
        masked.mask_weights()
        optimizer.zero_grad()
    assert not torch.allclose(network[1].weight, expected["1.weight"], rtol=1e-3)  # type: ignore[index]


def test_masks_lie_in_memory_as_their_weights() -> None:
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    masked = MaskedWeights(model, {"weight": torch.rand(4, 3, 3, 3) < 0.5})
    assert masked._masks[0].stride() == model.weight.stride() != torch.empty(4, 3, 3, 3).stride()
    assert not masked._masks[0].requires_grad


@pytest.mark.parametrize("fields", RECIPES, ids=lambda f: f"{f['optimizer']}-{f['gradient_clip']}")
def test_removed_weights_are_exactly_zero_after_every_step(
    network: nn.Module, masks: dict[str, Tensor], fields: dict[str, Any]
) -> None:
    recipe = Recipe(epochs=1, **fields)
    step = step_of(network, masks, recipe)
    parameters = dict(network.named_parameters())
    for inputs, labels in batches():
        step([Batch(inputs, labels, recipe.lr)])
        step.masked[0].check()
        assert all(not parameters[name][~mask].any() for name, mask in masks.items())


def test_a_removed_weight_that_is_not_zero_is_named(network: nn.Module, masks: dict[str, Tensor]) -> None:
    masked = MaskedWeights(network, masks)
    masked.check()
    with torch.no_grad():
        network[3].weight[~masks["3.weight"]] = 1.0  # type: ignore[index]
    with pytest.raises(RuntimeError, match=r"'3\.weight' is not zero"):
        masked.check()


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


def training(examples: TrainingData, device: str = "cpu", **recipe: Any) -> Training:
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
    examples: TrainingData, how: dict[str, Any], rounding: float
) -> None:
    plain, compiled = training(examples, **how), training(examples, **how, compile="yes")
    expected, found = train(plain), train(compiled)
    assert (expected.engine, found.engine) == ("eager", "compiled")
    assert losses(found) == pytest.approx(losses(expected), rel=rounding)
    ours, theirs = compiled.model.state_dict(), plain.model.state_dict()
    torch.testing.assert_close(ours, theirs, rtol=rounding, atol=rounding)
    assert not ours["4.weight"][~compiled.masks["4.weight"]].any()


def test_only_full_batches_go_through_the_compiler(examples: TrainingData, calls: list[Any]) -> None:
    found = train(training(examples, compile="yes"))
    assert calls == ["reset", {"dynamic": False, "mode": "default"}, *[16] * 8]
    assert losses(found) == losses(train(training(examples)))


def test_where_no_batch_is_full_all_examples_are_one(examples: TrainingData, calls: list[Any]) -> None:
    train(training(examples, compile="yes", batch_size=128))
    assert calls[2:] == [70, 70]


def test_every_forward_pass_begins_a_step_of_cuda_graphs(calls: list[Any]) -> None:
    compiled = CompiledNetwork(network(), 4, graphs=True)
    for count in (4, 3):
        compiled(torch.zeros(count, 1, 4, 4))
    assert calls == ["reset", {"dynamic": False, "mode": "reduce-overhead"}, "begin", 4, "begin"]


def test_without_the_switch_the_compiler_is_left_alone(examples: TrainingData, calls: list[Any]) -> None:
    train(training(examples))
    assert calls == []


def test_a_compiled_network_is_not_batched(
    examples: TrainingData, streams: Streams, network: nn.Module, recipe: Recipe
) -> None:
    compiled = recipe.model_copy(update={"compile": "yes"})
    assert is_batched(Training(network, {}, recipe, examples, streams))
    assert not is_batched(Training(network, {}, compiled, examples, streams))


def test_cuda_graphs_are_refused_where_there_are_none(examples: TrainingData) -> None:
    with pytest.raises(SuiteError, match=r"^compile 'cuda-graphs' has no effect on device 'cpu'; .*$"):
        train(training(examples, compile="cuda-graphs"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none")
@pytest.mark.parametrize("compiled", ["yes", "cuda-graphs"])
def test_a_compiled_training_on_a_gpu_is_the_plain_one_within_rounding(
    make_split: Callable[..., ResidentSplit], compiled: str
) -> None:
    train_split, test_split = (moved(make_split(count, count), "cuda") for count in (70, 30))
    examples = TrainingData(train_split, None, test_split, None)
    expected = train(training(examples, "cuda", epochs=4))
    found = train(training(examples, "cuda", epochs=4, compile=compiled))
    assert losses(found) == pytest.approx(losses(expected), rel=1e-2)


def moved(split: ResidentSplit, device: str) -> ResidentSplit:
    normalize = Normalization(split.normalize.scale.to(device), split.normalize.shift.to(device))
    return ResidentSplit(split.images.to(device), split.labels.to(device), normalize)
