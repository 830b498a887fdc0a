"""Small networks trained in one batch: each gets, to the bit, what it gets alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    BatchedNetwork,
    BatchedStep,
    Normalization,
    ResidentSplit,
    RewindPoint,
    Streams,
    Trained,
    Training,
    TrainingData,
    TrainingStep,
    batched,
    can_batch,
    train,
    train_batch,
)
from synflow_bench.training.batched import (
    LEAST,
    MOST_KEPT,
    MOST_PARAMETERS,
    KeptParameters,
    backward,
    is_batchable,
    is_exact,
)


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(seed: int, hidden: int = 21, classes: int = 7) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = (nn.Linear(16, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        return nn.Sequential(nn.Flatten(), *layers, nn.Linear(hidden, classes))


def split(count: int, seed: int, classes: int = 7) -> ResidentSplit:
    images = torch.randint(256, (count, 1, 4, 4), dtype=torch.uint8, generator=generator(seed))
    labels = torch.randint(classes, (count,), generator=generator(seed + 1))
    return ResidentSplit(images, labels, Normalization(torch.tensor([[[1 / 64]]]), torch.tensor([[[-2.0]]])))


def masks_of(model: nn.Module, seed: int) -> dict[str, Tensor]:
    weights = {name: p for name, p in model.named_parameters() if p.dim() > 1}
    return {n: torch.rand(p.shape, generator=generator(seed)) < 0.4 for n, p in weights.items()}


def training(seed: int, recipe: Recipe, *, hidden: int = 21, examples: int = 70) -> Training:
    model = network(seed, hidden)
    data = TrainingData(split(examples, seed), split(9, 50), split(30, 60), None)
    streams = Streams(generator(seed), generator(seed))
    return Training(model, masks_of(model, seed), recipe, data, streams)


def state(trainings: list[Training]) -> list[dict[str, Tensor]]:
    return [{n: p.detach().clone() for n, p in t.model.named_parameters()} for t in trainings]


def equal(found: list[dict[str, Tensor]], expected: list[dict[str, Tensor]]) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(torch.equal(a[name], b[name]) for a, b in pairs for name in a)


def both_ways(recipe: Recipe, seeds: range, **how: int) -> tuple[list[Trained], list[Trained], bool]:
    """What trainings give alone and in a batch, and whether their networks end alike."""
    alone, at_once = ([training(seed, recipe, **how) for seed in seeds] for _ in range(2))
    results = [train(each) for each in alone], train_batch(at_once)
    return *results, equal(state(alone), state(at_once))


RECIPES = [
    Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.1, weight_decay=1e-3),
    Recipe(epochs=2, batch_size=16, optimizer="momentum", lr=0.05, schedule="cosine", gradient_clip=0.5),
    Recipe(epochs=2, batch_size=16, optimizer="adam", lr=1e-2, label_smoothing=0.1),
    Recipe(epochs=2, batch_size=16, optimizer="rmsprop", lr=1e-3, weight_decay=1e-3, warmup_epochs=1),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
@pytest.mark.parametrize("count", [2, 3, 8])
def test_every_network_of_a_batch_gets_what_it_gets_alone(recipe: Recipe, count: int) -> None:
    alone, at_once, same = both_ways(recipe, range(count))
    assert at_once == alone
    assert same


@given(
    count=st.integers(2, 5),
    hidden=st.integers(1, 40),
    examples=st.integers(2, 60),
    batch=st.integers(1, 33),
)
@settings(max_examples=25)
def test_that_holds_for_networks_and_batches_of_any_size(
    count: int, hidden: int, examples: int, batch: int
) -> None:
    recipe = Recipe(epochs=1, batch_size=batch, optimizer="adam", lr=1e-2)
    first = training(0, recipe, hidden=hidden, examples=examples)
    if not can_batch(first):
        return
    alone, at_once, same = both_ways(recipe, range(count), hidden=hidden, examples=examples)
    assert at_once == alone
    assert same


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_a_batched_step_is_the_ordinary_step(recipe: Recipe) -> None:
    batched, ordinary = ([training(seed, recipe) for seed in range(3)] for _ in range(2))
    step, steps = BatchedStep(batched), [TrainingStep.of(each) for each in ordinary]
    for draw in range(5):
        inputs, labels = torch.randn(3, 11, 1, 4, 4, generator=generator(draw)), torch.arange(33) % 7
        batches = [Batch(x, y, recipe.lr) for x, y in zip(inputs, labels.view(3, 11), strict=True)]
        losses = step(batches)
        expected = [one([batch])[0] for one, batch in zip(steps, batches, strict=True)]
        torch.testing.assert_close(torch.stack(list(losses)), torch.stack(expected))
    for a, b in zip(batched, ordinary, strict=True):
        for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_removed_weights_stay_zero_and_padding_too() -> None:
    trainings = [training(seed, RECIPES[0]) for seed in range(3)]
    train_batch(trainings)
    for each in trainings:
        parameters = dict(each.model.named_parameters())
        assert all(not parameters[name][~mask].any() for name, mask in each.masks.items())


def test_a_network_that_diverges_leaves_the_others_of_its_batch_alone() -> None:
    recipe = Recipe(epochs=2, batch_size=16, optimizer="sgd", lr=0.1)
    alone, at_once = ([training(seed, recipe) for seed in range(2)] for _ in range(2))
    for each in (alone[0], at_once[0]):
        with torch.no_grad():
            next(each.model.parameters()).fill_(1e30)
    results = train_batch(at_once)
    assert results[0].diverged
    assert results[1] == train(alone[1])


def test_networks_have_parameters_of_their_own_after_training() -> None:
    trainings = [training(seed, RECIPES[2]) for seed in range(2)]
    train_batch(trainings)
    first, second = (next(each.model.parameters()) for each in trainings)
    assert first.untyped_storage().nbytes() == first.numel() * first.element_size()
    assert first.untyped_storage().data_ptr() != second.untyped_storage().data_ptr()
    assert first.grad is None


def test_a_checkpoint_can_be_taken_of_a_batched_network() -> None:
    whole = training(0, RECIPES[0])
    point = RewindPoint(3)
    begun = deepcopy(whole.model.state_dict())
    train(Training(**{**vars(whole), "rewind": point}))
    point.restore(whole.model)
    steps = training(0, RECIPES[0])
    step = BatchedStep([steps])
    order = torch.randperm(70, generator=generator(0))
    for batch in list(steps.examples.train.shuffled(16, order, None, generator(0)))[:3]:
        step([Batch(*batch, 0.1)])
    assert equal([whole.model.state_dict()], [steps.model.state_dict()])
    assert not equal([whole.model.state_dict()], [begun])


@pytest.mark.parametrize(
    ("model", "batchable"),
    [
        (network(0), True),
        (
            nn.Sequential(
                nn.Flatten(), nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU()), nn.Linear(4, 2)
            ),
            True,
        ),
        (nn.Sequential(nn.Linear(4, 2)), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.BatchNorm1d(4)), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Dropout(), nn.Linear(4, 2)), False),
        (nn.Sequential(nn.Flatten(), *[nn.Linear(4, 4)] * 2), False),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 4)).requires_grad_(False), False),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.Flatten(), nn.Linear(4, 2)), False),
        (nn.Flatten(), False),
    ],
)
def test_chains_of_linear_layers_can_be_batched(model: nn.Module, batchable: bool) -> None:
    assert is_batchable(model) is batchable


def test_a_network_with_hooks_is_left_alone() -> None:
    model = network(0)
    model[1].register_forward_hook(lambda *_: None)
    assert not is_batchable(model)


def test_sharing_is_for_one_thread_and_full_precision() -> None:
    assert can_batch(training(0, RECIPES[0]))
    for change in ({"precision": "bf16"}, {"compile": "yes"}):
        assert not can_batch(training(0, RECIPES[0].model_copy(update=change)))
    torch.set_num_threads(2)
    assert not can_batch(training(0, RECIPES[0]))


def test_a_machine_is_tried_with_the_last_batch_of_an_epoch_too(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def exact(model: nn.Module, inputs: Sequence[int], networks: int) -> bool:
        tried.append(inputs[0])
        return inputs[0] == 16

    monkeypatch.setattr("synflow_bench.training.loop.is_exact", exact)
    assert not can_batch(training(0, RECIPES[0], examples=70))
    assert min(tried) == 6
    assert can_batch(training(0, RECIPES[0], examples=64))


@pytest.mark.parametrize("count", range(1, 10))
def test_batched_networks_give_logits_and_gradients_of_its_examples_alone(count: int) -> None:
    models, inputs = [network(0), network(1)], torch.randn(2, count, 1, 4, 4, generator=generator(2))
    plain = [deepcopy(model) for model in models]
    expected = [model(batch) for model, batch in zip(plain, inputs, strict=True)]
    batch = BatchedNetwork(models)
    logits = batch(inputs)
    torch.testing.assert_close(logits, torch.stack(expected))
    logits.square().sum().backward()
    sum(each.square().sum() for each in expected).backward()
    for model, other in zip(models, plain, strict=True):
        for p, q in zip(model.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-4, atol=1e-5)


def test_whether_a_machine_is_exact_is_tried_without_touching_the_network() -> None:
    model = network(0)
    before = [p.detach().clone() for p in model.parameters()]
    assert isinstance(is_exact(model, (16, 1, 4, 4), networks=3), bool)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))


def test_gradients_of_batched_networks_are_those_of_autograd() -> None:
    models = [network(seed).double() for seed in range(3)]
    inputs = torch.randn(3, 5, 1, 4, 4, generator=generator(0))
    batch = BatchedNetwork([deepcopy(model).float() for model in models])
    batch(inputs).pow(2).sum().backward()
    for row, model in enumerate(models):
        model(inputs[row].double()).pow(2).sum().backward()
        for name, parameter in model.named_parameters():
            found = batch.storage.pair(name)[1][row].double()
            torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_networks_that_fill_up_a_batch_change_no_other(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where all batches have one size."""
    alone, trainings = [training(0, recipe), training(1, recipe)], [training(0, recipe), training(1, recipe)]
    expected = [train(each) for each in alone]
    monkeypatch.setitem(LEAST, "cpu", 5)
    assert is_exact(network(0), (16, 1, 4, 4), 2)
    assert train_batch(trainings) == expected
    assert equal(state(trainings), state(alone))


@pytest.mark.parametrize("share", [0.4, 1.0])
def test_a_filled_batch_continues_from_the_states_of_its_networks(
    share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEAST, "cpu", 5)
    recipe, batch = RECIPES[2], Batch(torch.randn(16, 1, 4, 4), torch.arange(16) % 7, 1e-2)

    def kept(each: Training) -> Training:
        return each if share < 1 else replace(each, masks={})

    first, second = ([kept(training(seed, recipe)) for seed in range(4)] for _ in range(2))
    whole, before = BatchedStep(first), BatchedStep(second)
    for step in (whole, before):
        step([batch] * 4)
    states = [{name: tensor.clone() for name, tensor in of_one.items()} for of_one in before.states()]
    before.release()
    after = BatchedStep(second)
    after.restore(states)
    assert all(torch.equal(a, b) for a, b in zip(whole([batch] * 4), after([batch] * 4), strict=True))
    assert equal(state(first), state(second))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_updating_all_parameters_gives_what_updating_the_kept_ones_gives(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where removed weights are updated too, by zero."""
    kept, whole = ([training(seed, recipe) for seed in range(3)] for _ in range(2))
    expected = train_batch(kept)
    monkeypatch.setitem(MOST_KEPT, "cpu", 0.0)
    assert train_batch(whole) == expected
    assert equal(state(whole), state(kept))


def test_a_batch_on_another_device_continues_from_states_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU cannot select from a tensor on the CPU."""
    batch = Batch(torch.randn(16, 1, 4, 4), torch.arange(16) % 7, 1e-2)
    before, after = (BatchedStep([training(0, RECIPES[2])]) for _ in range(2))
    before([batch])
    for name, tensor in vars(after._kept).items():
        if isinstance(tensor, Tensor):
            setattr(after._kept, name, tensor.to("meta"))
    collect, given = KeptParameters.collect, []

    def spy(kept: KeptParameters, rows: Tensor) -> Tensor:
        given.append(rows.device.type)
        return collect(kept, rows)

    monkeypatch.setattr(KeptParameters, "collect", spy)
    after.restore(before.states())
    assert given == ["meta"] * 3


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_at_once_are_those_of_each_network(smoothing: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU; the last two networks fill up the batch."""
    first, second = (torch.randn(5, 11, 7, generator=generator(0)).requires_grad_() for _ in range(2))
    given = [Batch(torch.empty(0), (torch.arange(11) + row) % 7, 0.1) for row in range(3)]
    expected = backward(first, given, smoothing)
    monkeypatch.setattr(batched, "AT_ONCE", frozenset({"cpu"}))
    found = backward(second, given, smoothing)
    torch.testing.assert_close(torch.stack(list(found)), torch.stack(list(expected)))
    torch.testing.assert_close(second.grad, first.grad)
    assert second.grad is not None
    assert not second.grad[3:].any()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.optimizer)
def test_with_losses_at_once_other_networks_change_nothing(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LEAST, "cpu", 5)
    monkeypatch.setattr(batched, "AT_ONCE", frozenset({"cpu"}))
    alone, at_once, same = both_ways(recipe, range(3))
    assert at_once == alone
    assert {each.engine for each in at_once} == {"stacked"}
    assert same


def test_a_network_that_is_not_exact_in_filled_batches_takes_the_ordinary_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(LEAST, "cpu", 4)
    monkeypatch.setattr("synflow_bench.training.loop.is_exact", lambda *_: False)
    each = training(0, RECIPES[0])
    assert not can_batch(each)
    assert train(each).engine == "eager"


def test_a_filled_batch_is_tried_once_with_its_first_and_last_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    gradients = batched._gradients

    def spy(models: list[nn.Module], inputs: Tensor) -> Tensor:
        made.append(len(models))
        return gradients(models, inputs)

    monkeypatch.setattr(batched, "_gradients", spy)
    monkeypatch.setitem(LEAST, "cpu", 8)
    for _ in range(2):
        is_exact(network(0, hidden=19), (16, 1, 4, 4), 8)
    assert made == [1, 1, 8]


def test_large_networks_are_trained_alone_where_they_occupy_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert is_batchable(network(0))
    monkeypatch.setitem(MOST_PARAMETERS, "cpu", 100)
    assert not is_batchable(network(0))
