"""Checkpoints in the midst of a training, and trainings that begin there."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from synflow_bench.suites import Recipe
from synflow_bench.training import Checkpoint, Examples, Streams, Training, steps_per_epoch, train

STEPS = 5
"""Optimizer steps of an epoch of 70 examples in batches of 16."""
RECIPE = Recipe(epochs=3, batch_size=16, lr=0.05, optimizer="sgd", schedule="cosine")


def streams() -> Streams:
    return Streams(torch.Generator().manual_seed(3), torch.Generator().manual_seed(4))


def tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.fixture
def network() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 3))


@pytest.mark.parametrize(
    ("examples", "batch_size", "steps"), [(70, 16, 5), (64, 16, 4), (65, 16, 4), (66, 16, 5), (1, 4, 0)]
)
def test_a_last_batch_of_one_example_is_no_step(examples: int, batch_size: int, steps: int) -> None:
    assert steps_per_epoch(examples, batch_size) == steps


@pytest.mark.parametrize("step", range(3 * STEPS))
def test_going_on_from_a_checkpoint_ends_where_the_training_ended(
    network: nn.Module, examples: Examples, step: int
) -> None:
    """Plain SGD remembers nothing, so a fresh optimizer changes nothing."""
    checkpoint, start = Checkpoint(step), tensors(network)
    whole = train(Training(network, {}, RECIPE, examples, streams(), checkpoint=checkpoint))
    end = tensors(network)
    checkpoint.restore(network)
    if step == 0:
        assert all(torch.equal(start[name], tensor) for name, tensor in tensors(network).items())
    rest = train(Training(network, {}, RECIPE, examples, streams(), first_step=step))
    assert all(torch.equal(end[name], tensor) for name, tensor in tensors(network).items())
    assert [point.epoch for point in rest.curve] == list(range(step // STEPS, 4))
    assert rest.final == whole.final


def test_asking_for_a_checkpoint_changes_no_training(network: nn.Module, examples: Examples) -> None:
    other = deepcopy(network)
    with_one = train(Training(network, {}, RECIPE, examples, streams(), checkpoint=Checkpoint(7)))
    assert with_one == train(Training(other, {}, RECIPE, examples, streams()))


def test_a_checkpoint_is_a_copy(network: nn.Module, examples: Examples) -> None:
    checkpoint = Checkpoint(0)
    train(Training(network, {}, RECIPE, examples, streams(), checkpoint=checkpoint))
    checkpoint.restore(network)
    before = tensors(network)
    train(Training(network, {}, RECIPE, examples, streams()))
    checkpoint.restore(network)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(network).items())


def test_a_step_that_no_training_has_passed_is_told(network: nn.Module, examples: Examples) -> None:
    checkpoint = Checkpoint(3 * STEPS)
    train(Training(network, {}, RECIPE, examples, streams(), checkpoint=checkpoint))
    with pytest.raises(RuntimeError, match="no training has passed step 15"):
        checkpoint.restore(network)
