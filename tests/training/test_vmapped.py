"""Convolutional networks that are trained as one by `vmap` get what each gets alone, except for rounding."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    Normalization,
    ResidentSplit,
    Streams,
    Training,
    TrainingData,
    TrainingStep,
    can_batch,
    loop,
    train,
    train_batch,
    vmapped,
)
from synflow_bench.training.batched import LEAST
from synflow_bench.training.vmapped import (
    VmappedNetwork,
    VmappedStep,
    is_small,
    is_vmappable,
    is_vmapped_alike,
)
from synflow_bench_models.resnet import LotteryResNet
from synflow_bench_models.small import conv, fc


@pytest.fixture(autouse=True)
def _on_one_thread(one_thread: None) -> None:
    """Two are slower on networks of this size."""


SHAPE, BATCH, NETWORKS = (3, 8, 8), 6, 3
FACTORIES: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: conv(SHAPE, 4),
    "resnet": lambda: LotteryResNet(8, width=4)(SHAPE, 4),
}
RECIPES = [
    Recipe(epochs=1, optimizer="momentum", lr=0.02, weight_decay=1e-3, gradient_clip=1.0, batch_size=BATCH),
    Recipe(epochs=1, optimizer="adam", lr=1e-3, label_smoothing=0.1, batch_size=BATCH),
]


def trainings(factory: Callable[[], nn.Module], recipe: Recipe) -> list[Training]:
    """Trainings of networks with other weights and other masks; their data are never read."""
    made = []
    for seed in range(NETWORKS):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = factory().train()
            masks = {n: torch.rand(p.shape) < 0.5 for n, p in model.named_parameters() if p.dim() > 1}
        if seed == 0:
            masks.popitem()
        data: TrainingData = TrainingData(None, None, None, None)  # type: ignore[arg-type]
        made.append(Training(model, masks, recipe, data, Streams(torch.Generator(), torch.Generator())))
    return made


def batches(step: int) -> list[Batch]:
    draw = torch.Generator().manual_seed(step)
    return [
        Batch(
            torch.randn(BATCH, *SHAPE, generator=draw), torch.randint(4, (BATCH,), generator=draw), 0.01, step
        )
        for _ in range(NETWORKS)
    ]


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("recipe", RECIPES, ids=["momentum, clipped", "adam, smoothed"])
@pytest.mark.parametrize("case", FACTORIES)
def test_steps_are_those_of_each_network_alone(case: str, recipe: Recipe) -> None:
    together, alone = (trainings(FACTORIES[case], recipe) for _ in range(2))
    step, steps = VmappedStep(together), [TrainingStep.of(each) for each in alone]
    for number in range(4):
        losses = step(batches(number))
        expected = [one([batch])[0] for one, batch in zip(steps, batches(number), strict=True)]
        torch.testing.assert_close(torch.stack(list(losses)), torch.stack(expected), rtol=1e-4, atol=1e-5)
    step.release()
    for mine, other, masked in zip(together, alone, step.masked, strict=True):
        masked.check()
        torch.testing.assert_close(tensors(mine.model), tensors(other.model), rtol=1e-3, atol=1e-5)


def test_a_batch_goes_on_from_the_states_of_others() -> None:
    recipe = RECIPES[1]
    whole, first = (trainings(FACTORIES["resnet"], recipe) for _ in range(2))
    step, before = VmappedStep(whole), VmappedStep(first)
    for number in range(2):
        step(batches(number)), before(batches(number))
    saved = [{name: tensor.clone() for name, tensor in state.items()} for state in before.states()]
    before.release()
    alone = TrainingStep.of(first[2])
    alone.restore([saved[2]])
    pair = VmappedStep(first[:2])
    pair.restore(saved[:2])
    step(batches(2)), pair(batches(2)[:2]), alone(batches(2)[2:])
    for mine, other in zip(whole, first, strict=True):
        torch.testing.assert_close(tensors(mine.model), tensors(other.model), rtol=1e-3, atol=1e-5)


def test_released_networks_share_no_memory() -> None:
    model = FACTORIES["conv"]()
    network = VmappedNetwork([model, deepcopy(model)])
    network.release()
    before = tensors(model)
    for parameter in network.parameters.values():
        parameter.data.zero_()
    torch.testing.assert_close(tensors(model), before, rtol=0, atol=0)


class Branching(nn.Module):
    """A network that asks for a value, which no batch of networks has."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.conv(inputs).flatten(1)
        return outputs if bool(outputs.sum() > 0) else -outputs


def hooked() -> nn.Module:
    model = conv(SHAPE, 4)
    model.register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (FACTORIES["conv"], True),
        (FACTORIES["resnet"], True),
        (lambda: fc(SHAPE, 4), False),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 8), nn.Dropout(), nn.Flatten()), False),
        (hooked, False),
    ],
    ids=["conv", "resnet", "no convolution", "random layers", "hooks"],
)
def test_networks_of_known_layers_are_batched(factory: Callable[[], nn.Module], expected: bool) -> None:
    assert is_vmappable(factory()) is expected


def test_a_network_that_vmap_cannot_follow_is_trained_alone() -> None:
    assert is_vmappable(Branching())
    assert not is_vmapped_alike(Branching(), (BATCH, *SHAPE), NETWORKS)


def test_memory_that_is_missing_is_no_answer_on_whether_networks_are_trained_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(_: VmappedNetwork, batches: list[Tensor]) -> list[Tensor]:
        raise torch.OutOfMemoryError(f"no memory is left for {len(batches)} batches")

    monkeypatch.setattr(VmappedNetwork, "__call__", full)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            is_vmapped_alike(conv(SHAPE, 4), (BATCH, *SHAPE), 2)


def no_memory(*_: object) -> list[Tensor]:
    raise torch.OutOfMemoryError("today")


def test_a_trial_without_memory_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VmappedNetwork, "__call__", no_memory)
    for _ in range(2):
        with pytest.raises(torch.OutOfMemoryError):
            is_vmapped_alike(conv(SHAPE, 4), (2, *SHAPE), 2)


def test_a_trial_keeps_no_network() -> None:
    model = conv(SHAPE, 3)
    is_vmapped_alike(model, (2, *SHAPE), 2)
    kept = weakref.ref(model)
    del model
    gc.collect()
    assert kept() is None


def test_networks_that_occupy_the_device_are_not_batched(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
    macs = 6 * (4 * 36 * 27 + 5 * 4 * 36)
    assert is_small(model, (6, *SHAPE), 3)
    for most, size in ((macs, 6), (macs, 7)):
        monkeypatch.setitem(vmapped.MOST_MACS, "cpu", most)
        assert is_small(model.train(), (size, *SHAPE), 4) is (size == 6)


def split(count: int) -> ResidentSplit:
    draw = torch.Generator().manual_seed(count)
    images = torch.randint(256, (count, *SHAPE), dtype=torch.uint8, generator=draw)
    normalization = Normalization(torch.full((3, 1, 1), 1 / 64), torch.full((3, 1, 1), -2.0))
    return ResidentSplit(images, torch.randint(4, (count,), generator=draw), normalization)


def test_a_device_that_batches_convolutions_is_named_in_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    data = TrainingData(split(15), split(4), split(5), None)
    once, alone, at_once = (
        [replace(each, examples=data) for each in trainings(FACTORIES["resnet"], RECIPES[0])]
        for _ in range(3)
    )
    plain = train(once[0])
    assert (plain.engine, can_batch(once[0])) == ("eager", False)
    monkeypatch.setattr(vmapped, "DEVICES", frozenset({"cpu"}))
    monkeypatch.setitem(LEAST, "cpu", 4)
    if not can_batch(once[1]):
        pytest.skip("convolutions in groups round differently by place on this processor")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "is_vmapped_alike", no_memory)
        assert train(once[1]).engine == "eager"
    found = train_batch(at_once)
    assert {each.engine for each in found} == {"vmapped"}
    assert found == [train(each) for each in alone]
    assert found[0].final.loss == pytest.approx(plain.final.loss, rel=1e-3)
