"""Training by a recipe: the curve, repeatability, divergence and checkpoints."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench.data import Augmentation
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Precision,
    RewindPoint,
    Streams,
    Training,
    TrainingData,
    steps_per_epoch,
    train,
)
from synflow_bench.training.loop import evaluate


def fresh_streams() -> Streams:
    return Streams(torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))


def test_it_equals_a_plain_loop_written_out(
    network: nn.Module, examples: TrainingData, recipe: Recipe
) -> None:
    plain = deepcopy(network)
    train(Training(network, {}, recipe, examples, fresh_streams()))
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    draw = torch.Generator().manual_seed(3)
    for _ in range(recipe.epochs):
        order = torch.randperm(70, generator=draw)
        for chosen in order.split(16):
            split = examples.train.take(chosen)
            optimizer.zero_grad()
            cross_entropy(plain(split.normalize(split.images)), split.labels).backward()
            optimizer.step()
    for ours, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_curve_starts_before_training_and_ends_with_the_final_evaluation(
    network: nn.Module, masks: dict[str, Tensor], examples: TrainingData, streams: Streams, recipe: Recipe
) -> None:
    reported = []
    trained = train(Training(network, masks, recipe, examples, streams, reported.append))
    assert [point.epoch for point in trained.curve] == [0, 1, 2]
    assert list(trained.curve) == reported
    assert trained.curve[0].train_loss is None
    again = evaluate(network, examples.test, Precision.of(recipe, torch.device("cpu")))
    assert trained.final == again
    assert trained.curve[-1].test_top1 == again.top1
    assert not trained.diverged


def test_it_learns(
    network: nn.Module, masks: dict[str, Tensor], examples: TrainingData, streams: Streams
) -> None:
    trained = train(Training(network, masks, Recipe(epochs=20, batch_size=16, lr=0.05), examples, streams))
    assert trained.final.top1 > 0.9


def test_equal_seeds_repeat_bitwise(
    network: nn.Module, masks: dict[str, Tensor], examples: TrainingData, recipe: Recipe
) -> None:
    augmented = replace(examples, augmentation=Augmentation(1, True))
    other = deepcopy(network)
    first = train(Training(network, masks, recipe, augmented, fresh_streams()))
    second = train(Training(other, masks, recipe, augmented, fresh_streams()))
    assert first == second
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_augmentation_is_used_unless_the_recipe_says_not(
    network: nn.Module, examples: TrainingData, recipe: Recipe
) -> None:
    augmented = replace(examples, augmentation=Augmentation(1, True))
    plain = recipe.model_copy(update={"augment": False})
    losses = [
        train(Training(deepcopy(network), {}, chosen, data, fresh_streams())).curve[-1].train_loss
        for data, chosen in ((examples, recipe), (augmented, recipe), (augmented, plain))
    ]
    assert losses[0] != losses[1]
    assert losses[0] == losses[2]


def test_divergence_is_reported_not_raised(
    network: nn.Module, masks: dict[str, Tensor], examples: TrainingData, streams: Streams
) -> None:
    trained = train(Training(network, masks, Recipe(epochs=3, batch_size=16, lr=1e30), examples, streams))
    assert trained.diverged
    assert trained.curve[-1].train_loss is None


def test_no_epochs_only_evaluates(network: nn.Module, examples: TrainingData, streams: Streams) -> None:
    before = deepcopy(network.state_dict())
    trained = train(Training(network, {}, Recipe(epochs=0), examples, streams))
    assert len(trained.curve) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_evaluation_counts_top1_top5_and_the_mean_loss(make_split: object) -> None:
    split = make_split(2500, 0, classes=8)  # type: ignore[operator]
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    measured = evaluate(model, split, Precision("cpu", bf16=False, channels_last=False))
    logits = model(split.normalize(split.images)).detach()
    ranks = (logits > logits.gather(1, split.labels[:, None])).sum(1)
    assert measured.top1 == pytest.approx(float((ranks == 0).double().mean()))
    assert measured.top5 == pytest.approx(float((ranks < 5).double().mean()))
    assert measured.loss == pytest.approx(float(cross_entropy(logits, split.labels)), rel=1e-6)


def test_top5_says_nothing_with_five_classes_or_fewer(make_split: object) -> None:
    split = make_split(30, 0, classes=3)  # type: ignore[operator]
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    assert evaluate(model, split, Precision("cpu", bf16=False, channels_last=False)).top5 is None


@pytest.mark.parametrize("channels_last", [False, True])
def test_bf16_and_channels_last_train_to_the_same_accuracy(channels_last: bool, make_split: object) -> None:
    accuracies = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3))
        data = TrainingData(make_split(70, 0), None, make_split(30, 2), None)  # type: ignore[operator]
        chosen = Recipe(epochs=10, batch_size=16, lr=0.02, precision=precision, channels_last=channels_last)
        trained = train(Training(model, {}, chosen, data, fresh_streams()))
        assert next(model.parameters()).dtype is torch.float32
        accuracies.append(trained.final.top1)
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.1)
    assert min(accuracies) > 0.9


def test_batches_of_one_example_are_all_taken(
    network: nn.Module, examples: TrainingData, streams: Streams
) -> None:
    trained = train(Training(network, {}, Recipe(epochs=1, batch_size=1, lr=0.01), examples, streams))
    assert trained.curve[-1].train_loss is not None


STEPS = 5
"""Optimizer steps of an epoch of 70 examples in batches of 16."""
RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, optimizer="sgd", schedule="cosine")


def streams() -> Streams:
    return Streams(torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def normed() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


@pytest.mark.parametrize(
    ("examples", "batch_size", "steps"), [(70, 16, 5), (64, 16, 4), (65, 16, 4), (66, 16, 5), (1, 4, 0)]
)
def test_a_last_batch_of_one_example_is_no_step(examples: int, batch_size: int, steps: int) -> None:
    assert steps_per_epoch(examples, batch_size) == steps


@pytest.mark.parametrize("step", range(3 * STEPS))
def test_going_on_from_a_checkpoint_ends_where_the_training_ended(
    normed: nn.Module, examples: TrainingData, step: int
) -> None:
    """Plain SGD remembers nothing, so a fresh optimizer changes nothing."""
    point, start = RewindPoint(step), tensors(normed)
    whole = train(Training(normed, {}, RECIPE, examples, streams(), rewind=point))
    end = tensors(normed)
    point.restore(normed)
    if step == 0:
        assert all(torch.equal(start[name], tensor) for name, tensor in tensors(normed).items())
    rest = train(Training(normed, {}, RECIPE, examples, streams(), first_step=step))
    assert all(torch.equal(end[name], tensor) for name, tensor in tensors(normed).items())
    assert [point.epoch for point in rest.curve] == list(range(step // STEPS, 4))
    assert rest.final == whole.final


def test_asking_for_a_checkpoint_changes_no_training(normed: nn.Module, examples: TrainingData) -> None:
    other = deepcopy(normed)
    with_one = train(Training(normed, {}, RECIPE, examples, streams(), rewind=RewindPoint(7)))
    assert with_one == train(Training(other, {}, RECIPE, examples, streams()))


def test_a_checkpoint_is_a_copy(normed: nn.Module, examples: TrainingData) -> None:
    point = RewindPoint(0)
    train(Training(normed, {}, RECIPE, examples, streams(), rewind=point))
    point.restore(normed)
    before = tensors(normed)
    train(Training(normed, {}, RECIPE, examples, streams()))
    point.restore(normed)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(normed).items())


def test_a_step_that_no_training_has_passed_is_an_error(normed: nn.Module, examples: TrainingData) -> None:
    point = RewindPoint(3 * STEPS)
    train(Training(normed, {}, RECIPE, examples, streams(), rewind=point))
    with pytest.raises(RuntimeError, match="no training has passed step 15"):
        point.restore(normed)
