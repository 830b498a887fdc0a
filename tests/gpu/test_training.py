"""Training on a device: repeatable, as accurate as on the CPU, and without waiting for the device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from synflow_bench import Augmentation
from synflow_bench.host import Host
from synflow_bench.suites import Recipe
from synflow_bench.training import LoadedData, Streams, Training, TrainingData, build_optimizer, train
from synflow_bench_models.transformer import VisionTransformer

MakeData = Callable[..., LoadedData]
RECIPES = {
    "fc": Recipe(epochs=3, optimizer="adam", lr=2e-3, batch_size=64),
    "conv": Recipe(epochs=3, optimizer="momentum", lr=0.02, weight_decay=1e-4, batch_size=64),
    "clipped": Recipe(epochs=3, optimizer="rmsprop", lr=1e-3, batch_size=64, gradient_clip=1.0),
    "bf16": Recipe(epochs=3, optimizer="sgd", lr=0.05, batch_size=64, precision="bf16", channels_last=True),
    "attention": Recipe(epochs=3, optimizer="adam", lr=2e-3, batch_size=64),
}
SEEDS = 3


def network(name: str, device: torch.device) -> nn.Module:
    torch.manual_seed(5)
    if name == "fc":
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 3)).to(device)
    if name == "attention":  # to 64 patches and the class token
        return VisionTransformer((1, 8, 8), 1, 3, width=32, blocks=1, heads=2).to(device)
    block = nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.1)
    return nn.Sequential(*block, nn.Flatten(), nn.Linear(128, 3)).to(device)


def training_of(name: str, data: LoadedData, device: torch.device, seed: int = 0) -> Training:
    return training_with(network(name, device), RECIPES[name], data, seed)


def training_with(model: nn.Module, recipe: Recipe, data: LoadedData, seed: int = 0) -> Training:
    device = data.train.labels.device
    draw = torch.Generator().manual_seed(6)
    masks = {
        n: (torch.rand(p.shape, generator=draw) < 0.5).to(device)
        for n, p in model.named_parameters()
        if p.dim() > 1
    }
    streams = Streams(torch.Generator().manual_seed(seed), torch.Generator().manual_seed(seed + 1))
    examples = TrainingData(data.train, None, data.test, data.augmentation)
    return Training(model, masks, recipe, examples, streams, seed=seed)


def are_equal(first: Training, second: Training) -> bool:
    """Train both, and return True if results and networks are equal to the bit."""
    results = train(first), train(second)
    states = zip(*(each.model.state_dict().values() for each in (first, second)), strict=True)
    return results[0] == results[1] and all(torch.equal(one, other) for one, other in states)


@pytest.mark.parametrize("name", RECIPES)
def test_two_trainings_are_equal_to_the_bit(name: str, device: torch.device, make_data: MakeData) -> None:
    assert are_equal(*(training_of(name, make_data(device), device) for _ in range(2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; this machine has none")
@pytest.mark.parametrize("device", ["cuda"], indirect=True)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_trainings_with_attention_are_equal_to_the_bit(
    precision: str, device: torch.device, make_data: MakeData
) -> None:
    recipe = Recipe(epochs=3, optimizer="adam", lr=1e-3, batch_size=64, precision=precision)

    def training() -> Training:
        torch.manual_seed(5)
        model = Host.load().models.get("vit/tiny")((3, 32, 32), 3)
        return training_with(model.to(device), recipe, make_data(device, (3, 32, 32)))

    assert are_equal(training(), training())


@pytest.mark.parametrize("name", RECIPES)
def test_accuracies_are_those_of_the_cpu_within_noise(
    name: str, device: torch.device, make_data: MakeData
) -> None:
    """Four standard deviations of the difference of two accuracies on as many examples."""
    cpu = torch.device("cpu")
    means = []
    for place in (device, cpu):
        found = [train(training_of(name, make_data(place), place, seed)).final.top1 for seed in range(SEEDS)]
        means.append(sum(found) / SEEDS)
    count = SEEDS * len(make_data(cpu).test)
    spread = math.sqrt(2 * means[1] * (1 - means[1]) / count)
    assert abs(means[0] - means[1]) <= 4 * spread + 1 / count


@pytest.mark.parametrize("name", RECIPES)
def test_on_a_gpu_steps_are_graphs_or_batches(name: str, device: torch.device, make_data: MakeData) -> None:
    engine = train(training_of(name, make_data(device), device)).engine
    if device.type == "cpu":
        assert engine == ("stacked" if name == "fc" else "eager")
    else:
        assert engine in {"graphed", "stacked", "vmapped"}


class NothingIsRead(TorchDispatchMode):
    """Refuses operations for whose result a program waits for its device."""

    REFUSED = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__ in self.REFUSED:
            raise RuntimeError(f"{function} reads a result of the device")
        return function(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Watched:
    """A split whose epochs after the first may not wait for the device."""

    split: Any
    epochs: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.split, name)

    def __len__(self) -> int:
        return len(self.split)

    def shuffled(
        self, size: int, order: Tensor, change: Augmentation | None, *rest: Any, **more: Any
    ) -> Iterator[Any]:
        self.epochs.append(len(order))
        batches = self.split.shuffled(size, order, change, *rest, **more)
        if len(self.epochs) == 1:  # libraries set themselves up, and the graph is recorded
            yield from batches
            return
        if self.split.labels.is_cuda:
            torch.cuda.set_sync_debug_mode("error")
            try:
                yield from batches
            finally:
                torch.cuda.set_sync_debug_mode("default")
        else:
            with NothingIsRead():
                yield from batches


@pytest.mark.parametrize("name", ["conv", "clipped", "bf16"])
def test_nothing_waits_for_the_device_within_an_epoch(
    name: str, device: torch.device, make_data: MakeData
) -> None:
    training = training_of(name, make_data(device), device)
    watched = Watched(training.examples.train)
    train(replace(training, examples=replace(training.examples, train=watched)))
    assert len(watched.epochs) == RECIPES[name].epochs


def test_a_read_within_an_epoch_is_noticed(device: torch.device, make_data: MakeData) -> None:
    training = training_of("conv", make_data(device), device)
    training.model.register_forward_hook(lambda _, __, outputs: float(outputs.detach().sum()) and None)
    watched = Watched(training.examples.train)
    with pytest.raises(RuntimeError, match=r"synchroniz|reads a result"):
        train(replace(training, examples=replace(training.examples, train=watched)))


@pytest.mark.parametrize("name", RECIPES)
def test_no_tensor_stays_on_the_cpu(name: str, device: torch.device, make_data: MakeData) -> None:
    training = training_of(name, make_data(device), device)
    model, data = training.model, training.examples
    optimizer = build_optimizer(training.recipe, model.parameters())
    shuffled = data.train.shuffled(64, torch.arange(330), data.augmentation, torch.Generator())
    for inputs, labels in shuffled:
        assert (inputs.device.type, labels.device.type) == (device.type, device.type)
        model(inputs).sum().backward()
    optimizer.step()
    train(training)
    held = [*model.parameters(), *model.buffers(), *training.masks.values()]
    held += [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)
    ]
    steps = {"cpu"} if training.recipe.optimizer == "rmsprop" and device.type == "cpu" else {device.type}
    assert {tensor.device.type for tensor in held} == steps


def test_warnings_of_torch_that_are_no_fault_fail_no_test() -> None:
    """Torch gives the first two in the tests above; the last comes with the first backward pass."""
    for text in (
        "scatter_add_cuda does not have a deterministic implementation",
        "Synchronization debug mode is a prototype feature and does not yet detect all operations",
        "Attempting to run cuBLAS, but there was no current CUDA context! Attempting to set the primary one",
    ):
        warnings.warn(text, UserWarning, stacklevel=1)
