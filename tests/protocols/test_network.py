"""A network is tried before its cells: quickly, and refused only where they would refuse it."""

from __future__ import annotations

import time
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.errors import ModelError, UnknownNameError
from synflow_bench.protocols import WorkerContext, check_network
from synflow_bench.suites import PruningOptions, Recipe, Setting

SHAPE, CLASSES = (1, 8, 8), 10
RESIDUAL = PruningOptions(prune_residual=True)


def setting(model: Any = "mine", pruning: PruningOptions = PruningOptions()) -> Setting:
    recipe = Recipe(epochs=1)
    return Setting.model_validate({"dataset": "digits", "model": model, "recipe": recipe, "pruning": pruning})


def linear(*_: Any, inputs: int = 64, outputs: int = CLASSES) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


def refusing_meta(shape: Any, classes: int) -> nn.Module:
    if torch.zeros(()).is_meta:
        raise ModelError("tensors without values are not for me")
    return linear()


def failing_on_meta(shape: Any, classes: int) -> nn.Module:
    assert bool(torch.ones(()) > 0)
    return linear(inputs=65)


def exiting(shape: Any, classes: int) -> nn.Module:
    raise SystemExit(3)


class Constant(nn.Module):
    """Has a tensor that is on the CPU whatever device it is built for."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, CLASSES)
        self.shift = torch.zeros(64, device="cpu")

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1) + self.shift)
        return logits


def large(shape: Any, classes: int) -> nn.Module:
    """150 million weights, which would take seconds to draw."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 2_000_000), nn.ReLU(), nn.Linear(2_000_000, classes))


def test_an_unknown_option_of_a_network_is_refused(context: WorkerContext) -> None:
    model = {"name": "lottery/resnet20", "options": {"residul": True}}
    with pytest.raises(UnknownNameError, match="did you mean 'residual'"):
        check_network(context.host.models.get("lottery/resnet20"), setting(model), SHAPE, CLASSES)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": 65}, "model 'mine' cannot take an input of 1x8x8: mat1 and mat2 shapes cannot"),
        ({"outputs": 3}, r"model 'mine' gives \(3,\) outputs for an input of 1x8x8, not one for each of 10"),
    ],
)
def test_a_network_for_other_images_or_classes_is_refused(options: dict[str, int], message: str) -> None:
    def factory(shape: Any, classes: int) -> nn.Module:
        return linear(**options)

    with pytest.raises(ModelError, match=message):
        check_network(factory, setting(), SHAPE, CLASSES)


def test_one_that_has_nothing_to_prune_is_refused_by_its_name() -> None:
    def factory(shape: Any, classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, CLASSES, 8), nn.Flatten())

    check_network(factory, setting(), SHAPE, CLASSES)
    with pytest.raises(ModelError, match=r"^model 'mine' has nothing to prune; it needs a linear or"):
        check_network(factory, setting(pruning=PruningOptions(dense_classifier=True)), SHAPE, CLASSES)


def test_a_large_one_is_tried_without_memory_for_its_weights() -> None:
    started = time.process_time()
    check_network(large, setting(), SHAPE, CLASSES)
    with pytest.raises(ModelError, match="model 'mine' has no residual scales"):
        check_network(large, setting(pruning=RESIDUAL), SHAPE, CLASSES)
    assert time.process_time() - started < 0.5


def test_weights_that_are_published_are_not_loaded_for_it(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *a, **_: asked.append(a))
    name = "imagenet/vgg11"
    published = setting({"name": name, "options": {"pretrained": True}})
    check_network(context.host.models.get(name), published, (3, 224, 224), 1000)
    with pytest.raises(ModelError, match="has pretrained weights for 3 channels and 1000 classes, not for 3"):
        check_network(context.host.models.get(name), published, (3, 224, 224), 10)
    assert not asked


@pytest.mark.parametrize("factory", [refusing_meta, failing_on_meta, exiting, lambda *_: Constant()])
def test_what_only_the_trial_cannot_do_is_not_refused(factory: Any) -> None:
    check_network(factory, setting(), SHAPE, CLASSES)


@pytest.mark.parametrize("error", [ZeroDivisionError("no such luck"), SystemExit(3), TypeError()])
def test_a_fault_of_the_code_is_left_to_the_cells(error: BaseException) -> None:
    def factory(shape: Any, classes: int) -> nn.Module:
        raise error

    check_network(factory, setting(), SHAPE, CLASSES)


def test_it_says_nothing_and_draws_nothing(context: WorkerContext) -> None:
    def factory(shape: Any, classes: int) -> nn.Module:
        warnings.warn("look at me", stacklevel=1)
        return linear()

    before = torch.get_rng_state()
    check_network(factory, setting(), SHAPE, CLASSES)
    assert torch.equal(torch.get_rng_state(), before)


def test_every_small_network_of_ours_takes_a_fifth_of_a_second_at_most(context: WorkerContext) -> None:
    def seconds(name: str) -> float:
        started = time.process_time()
        check_network(context.host.models.get(name), setting(name), (3, 32, 32), CLASSES)
        return time.process_time() - started

    for name in ("fc", "conv", "lottery/resnet20", "lottery/vgg16-bn"):
        assert min(seconds(name) for _ in range(3)) < 0.2, name
