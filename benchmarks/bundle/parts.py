"""Parts of the report on a device: each measures, and appends a line of JSON per result to a file.

`python benchmarks/bundle/parts.py pruning --device cuda --lines FILE` runs one; `run.py` runs all of them.
The baseline of every ratio is the same work in `conventional.py` on the same device.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import conventional
import torch
import torchvision
from conventional import accuracy_of, grasp_masks, masked_forward, snip_masks, synflow_masks, train_epoch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

from synflow_bench import prune
from synflow_bench.compaction import compact
from synflow_bench.errors import one_line
from synflow_bench.execution import Resources
from synflow_bench.graph import trace
from synflow_bench.host import Host, PluginFile
from synflow_bench.pruning import Masks
from synflow_bench.records import Record
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import (
    Batch,
    LoadedData,
    Streams,
    Training,
    TrainingData,
    TrainingStep,
    algorithms,
    describe,
    process_restored,
    set_up_process,
)
from synflow_bench.training.graphed import graphed

BENCHMARKS = Path(__file__).resolve().parents[1]
PLUGINS = (BENCHMARKS / "made_up_data.py", BENCHMARKS / "bundle" / "cifar10_jpeg.py")

WAYS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "compiled": {"compile": "yes"},
}
"""Fields of a recipe that change the speed of the steps of a large network."""


@dataclass(frozen=True)
class Network:
    """A network and the shape of its input."""

    name: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class CellWork:
    """Cells of one epoch, and the ratio to reach.

    Attributes:
        model: The name of the network.
        data: The name of the dataset.
        cells: The number of cells that are timed.
        recipe: Fields of the recipe.
        ratio: How many times faster than the conventional cell each is meant to be, if that is said.
    """

    model: str
    data: str
    cells: int
    recipe: dict[str, Any]
    ratio: float | None = None

    @property
    def title(self) -> str:
        """The name of the line."""
        how = [str(self.recipe["precision"])] if "precision" in self.recipe else []
        return ", ".join(["cell", self.model, *how, "1 epoch"])


ADAM = {"optimizer": "adam", "lr": 1e-3, "batch_size": 64}
MOMENTUM = {"optimizer": "momentum", "lr": 0.1, "weight_decay": 1e-4, "batch_size": 128}
FASTEST = {"precision": "bf16", "channels_last": True}


@dataclass(frozen=True)
class Size:
    """The amount of work.

    Attributes:
        synflow: Networks that `synflow` prunes, with the seconds to reach, and the rounds of the baseline.
        network: The network of the other prunings and of the steps.
        rounds: The rounds of `synflow`.
        examples: The examples that score.
        cells: The cells of each network.
        batch: The examples per step.
        steps: The steps per timing.
        ways: The ways in which a step is taken.
    """

    synflow: tuple[tuple[Network, float | None, int], ...]
    network: Network
    rounds: int
    examples: int
    cells: tuple[CellWork, ...]
    batch: int
    steps: int
    ways: tuple[str, ...]


FULL = Size(
    synflow=(
        (Network("lottery/vgg16-bn", (3, 32, 32)), 1.5, 5),
        (Network("imagenet/vgg19", (3, 224, 224)), 4.0, 1),
    ),
    network=Network("lottery/vgg16-bn", (3, 32, 32)),
    rounds=100,
    examples=100,
    cells=(
        CellWork("fc", "made-up-large", 32, ADAM, 50),
        CellWork("conv", "made-up-large", 16, ADAM, 20),
        CellWork("conv", "made-up-large", 16, {**ADAM, **FASTEST}),
        CellWork("lottery/resnet20", "made-up-color", 8, {**MOMENTUM, **FASTEST}, 8),
        CellWork("lottery/resnet20", "made-up-color", 8, MOMENTUM),
    ),
    batch=128,
    steps=20,
    ways=tuple(WAYS),
)
TEST = Size(
    synflow=((Network("fc", (1, 8, 8)), 1.5, 2), (Network("conv", (1, 12, 12)), None, 2)),
    network=Network("conv", (1, 12, 12)),
    rounds=3,
    examples=20,
    cells=(
        CellWork("fc", "made-up-small", 2, ADAM, 50),
        CellWork("conv", "made-up-small", 1, {**ADAM, **FASTEST}),
    ),
    batch=8,
    steps=2,
    ways=("fp32", "bf16, channels last"),  # to compile takes too long
)
SIZES = {"full": FULL, "test": TEST}


@dataclass(frozen=True)
class Line:
    """One measurement.

    Attributes:
        what: The work.
        here: The seconds of synflow-bench; None where it failed.
        conventional: The seconds of the baseline; None where it was not measured.
        least_ratio: The ratio of both to reach.
        most_seconds: The seconds to reach.
        note: What else is to be known.
    """

    what: str
    here: float | None
    conventional: float | None = None
    least_ratio: float | None = None
    most_seconds: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """True if the figure to reach is reached; None if there is none, or it was not measured."""
        if self.here is None:
            return None
        if self.most_seconds is not None:
            return self.here <= self.most_seconds
        if self.least_ratio is None or self.conventional is None:
            return None
        return self.conventional / self.here >= self.least_ratio


Report = Callable[[Line], None]


def seconds(work: Callable[[], object], device: torch.device, times: int = 1, warm_ups: int = 1) -> float:
    """Return the mean wall seconds of `times` runs, after some that warm up."""
    for _ in range(warm_ups):
        work()
    _wait(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def as_in_a_worker(device: torch.device) -> Iterator[None]:
    """Compute as a worker does in this block; the baseline computes with torch's own defaults."""
    with process_restored():
        set_up_process(device, 1)
        yield


def network(chosen: Network, device: torch.device) -> nn.Module:
    """Build a network with weights that are always the same."""
    torch.manual_seed(0)
    model: nn.Module = Host.load().models.get(chosen.name)(chosen.shape, 10)
    return model.to(device)


def weights_of(model: nn.Module) -> list[str]:
    """Name the matrices and kernels of a network."""
    return [name for name, p in model.named_parameters() if p.dim() > 1]


# Pruning


def pruning(size: Size, device: torch.device, report: Report) -> None:
    """Time `synflow` on two networks, and `snip` and `grasp` on one, at compression 10."""
    for chosen, limit, timed in size.synflow:
        for_synflow(chosen, limit, timed, size.rounds, device, report)
    for pruner, formula in {"snip": snip_masks, "grasp": grasp_masks}.items():
        model, shape = network(size.network, device), size.network.shape
        labels = torch.arange(size.examples, device=device) % 10
        data = torch.randn(size.examples, *shape, device=device), labels

        def ours(pruner: str = pruner, model: nn.Module = model, data: Any = data) -> object:
            return prune(model, pruner, compression=10, input_shape=size.network.shape, data=data)

        def theirs(formula: Any = formula, model: nn.Module = model, data: Any = data) -> object:
            return formula(model, weights_of(model), *data, 10)

        line = Line(f"{pruner}, {size.examples} examples, {size.network.name}", None)
        _compare(line, ours, lambda theirs=theirs: seconds(theirs, device), device, report)


def for_synflow(
    chosen: Network, limit: float | None, timed: int, rounds: int, device: torch.device, report: Report
) -> None:
    """Time `synflow`; of the baseline, whose rounds take equally long, only some."""
    model = network(chosen, device)
    line = Line(
        f"synflow, {rounds} rounds, {chosen.name}",
        None,
        most_seconds=limit,
        note=f"baseline from {timed} of the rounds",
    )

    def theirs() -> float:
        names = weights_of(model)
        spent = seconds(lambda: synflow_masks(model, names, chosen.shape, 10, timed), device, warm_ups=0)
        return spent * rounds / timed

    def ours() -> object:
        return prune(model, f"synflow[rounds={rounds}]", compression=10, input_shape=chosen.shape)

    _compare(line, ours, theirs, device, report)


def _compare(
    line: Line,
    ours: Callable[[], object],
    theirs: Callable[[], float],
    device: torch.device,
    report: Report,
) -> None:
    """Report our time as soon as it is known, and again with the baseline."""
    with as_in_a_worker(device):
        line = replace(line, here=seconds(ours, device))
    report(line)
    report(replace(line, conventional=theirs()))


# Cells


def cells(size: Size, device: torch.device, report: Report) -> None:
    """Time cells of one epoch in a run whose worker has started, and the same work in a plain loop."""
    lines = []
    for work in size.cells:
        line = Line(work.title, None, least_ratio=work.ratio, note=f"{work.cells} cells, {work.data}")
        try:
            here, engines = run_cells(work, device)
        except Exception as error:  # the other networks are still to be measured
            report(replace(line, note=f"failed: {one_line(error)}"))
            continue
        lines.append((work, replace(line, here=here, note=f"{line.note}; engine {engines}")))
        report(lines[-1][1])
    spent: dict[str, float] = {}
    for work, line in lines:
        if work.model not in spent:
            spent[work.model] = conventional_cell(work, device)
        report(replace(line, conventional=spent[work.model]))


def run_cells(work: CellWork, device: torch.device) -> tuple[float, str]:
    """Return the seconds per cell, and the engines that trained them."""
    setting = Setting(
        dataset=work.data, model=ModelSpec(name=work.model), recipe=Recipe(epochs=1, **work.recipe)
    )
    pruner = PrunerSpec(name="snip", label="snip")
    with tempfile.TemporaryDirectory() as folder:
        place = Resources(Path(folder), str(device), 1, plugins=tuple(map(PluginFile.read, PLUGINS)))
        executor = Host.load().executors.get("local")(place, lambda _cell, _epoch: None)

        def run(seeds: range) -> list[Record]:
            for seed in seeds:
                executor.submit(Cell(setting=setting, pruner=pruner, compression=10, seed=seed))
            return list(executor.finished())

        try:
            records = run(range(work.cells))
            started = time.perf_counter()
            records += run(range(work.cells, 2 * work.cells))
            spent = time.perf_counter() - started
        finally:
            executor.close()
    if failed := [record.error.message for record in records if record.error]:
        raise RuntimeError(f"a cell failed: {failed[0]}")
    return spent / work.cells, ", ".join(sorted({str(record.provenance.engine) for record in records}))


def conventional_cell(work: CellWork, device: torch.device) -> float:
    """Return the seconds of one cell with data loaders and masks in the forward pass."""
    dataset = Host.load(files=tuple(map(PluginFile.read, PLUGINS))).dataset(work.data, Path())
    loaded = dataset.load(Path())
    side = dataset.input_shape[1] if dataset.augmentation else None
    changes = (
        conventional.transform(dataset.mean, dataset.std, side),
        conventional.transform(dataset.mean, dataset.std),
    )
    training, test = (
        conventional.Pictures(split.images, split.labels, change)
        for split, change in zip((loaded.train, loaded.test), changes, strict=True)
    )
    model = network(Network(work.model, dataset.input_shape), device)
    names = weights_of(model)
    batch, lr = work.recipe["batch_size"], work.recipe["lr"]
    _wait(device)
    started = time.perf_counter()
    first = next(iter(DataLoader(training, batch_size=100, shuffle=True)))
    masks = snip_masks(model, names, first[0].to(device), first[1].to(device), 10)
    optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    if work.recipe["optimizer"] == "momentum":
        optimizer = torch.optim.SGD(
            model.parameters(), lr=lr, momentum=0.9, nesterov=True, weight_decay=work.recipe["weight_decay"]
        )
    train_epoch(model, masks, DataLoader(training, batch_size=batch, shuffle=True), optimizer)
    accuracy_of(model, masks, DataLoader(test, batch_size=256))
    return time.perf_counter() - started


# Steps


def steps(size: Size, device: torch.device, report: Report) -> None:
    """Time training steps: pruned by `synflow`, in other precisions and memory formats, and compiled."""
    model, shape = network(size.network, device), size.network.shape
    batch = torch.randn(size.batch, *shape, device=device), torch.arange(size.batch, device=device) % 10
    dense = Masks.ones({name: p for name, p in model.named_parameters() if p.dim() > 1})
    spent = seconds(masked_step(deepcopy(model), dense, *batch), device, size.steps)
    for way in size.ways:
        line = Line(f"training step, {size.network.name}, {way}", None, spent)
        try:
            with as_in_a_worker(device):
                step = harness_step(deepcopy(model), dense, *batch, **WAYS[way])
                report(replace(line, here=seconds(step, device, size.steps, warm_ups=5)))
        except Exception as error:  # a machine without a compiler cannot compile
            report(replace(line, note=f"failed: {one_line(error)}"))
    for compression in (100.0, 1000.0):
        masks = prune(model, f"synflow[rounds={size.rounds}]", compression=compression, input_shape=shape)
        line = Line(f"training step, {size.network.name}, compression {compression:g}", None)
        line = replace(
            line, conventional=seconds(masked_step(deepcopy(model), masks, *batch), device, size.steps)
        )
        with as_in_a_worker(device):
            step = harness_step(deepcopy(model), masks, *batch)
            report(replace(line, here=seconds(step, device, size.steps, warm_ups=5)))


def masked_step(model: nn.Module, masks: Masks, inputs: Tensor, labels: Tensor) -> Callable[[], object]:
    """Return a step with masks multiplied in the forward pass, which reads the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    floats = {name: mask.to(inputs) for name, mask in masks.items()}

    def step() -> float:
        optimizer.zero_grad()
        loss = cross_entropy(masked_forward(model, floats, inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    return step


def harness_step(
    model: nn.Module, masks: Masks, inputs: Tensor, labels: Tensor, **way: Any
) -> Callable[[], object]:
    """Return a step of synflow-bench, on the compacted network, as a graph where the device has graphs."""
    shape, recipe = tuple(inputs.shape[1:]), Recipe(epochs=1, lr=1e-4, batch_size=len(labels), **way)
    graph = trace(deepcopy(model).cpu(), torch.zeros(1, *shape))  # as the harness does, on the CPU
    small = compact(model, masks, graph, shape)
    trained, kept = (small.model, small.masks) if small else (model, masks)
    split = _split(shape, inputs.device)
    streams = Streams(torch.Generator(), torch.Generator())
    training = Training(trained, kept, recipe, TrainingData(split, None, split, None), streams)
    step = graphed(TrainingStep.of(training), training)
    return lambda: step([Batch(inputs, labels, recipe.lr)])


def _split(shape: tuple[int, ...], device: torch.device) -> Any:
    """Return examples that no step reads."""
    from made_up_data import FewMadeUp

    fields = {"input_shape": shape, "mean": shape[0] * (0.5,), "std": shape[0] * (0.25,)}
    return LoadedData.load(type("Noise", (FewMadeUp,), fields)(), Path(), device).train


# The machine


def environment(device: torch.device) -> dict[str, Any]:
    """Describe the machine, and what a worker chooses of the device's libraries."""
    found: dict[str, Any] = {
        "device": describe(device) if device.type == "cuda" else f"cpu ({platform.machine()})",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "platform": platform.platform(),
    }
    if device.type == "cuda":
        with as_in_a_worker(device):
            torch.ones(1, device=device).sum().item()
            found["algorithms"] = algorithms(device)
        properties = torch.cuda.get_device_properties(device)
        found |= {
            "memory": f"{properties.total_memory / 2**30:.0f} GiB",
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


PARTS: dict[str, Callable[[Size, torch.device, Report], None]] = {
    "pruning": pruning,
    "cells": cells,
    "steps": steps,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=["environment", *PARTS])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--lines", type=Path, required=True)
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("torch finds no CUDA device here; `--device cpu --size test` only tests the code")
        return 2
    with given.lines.open("a", encoding="utf-8") as file:

        def write(fields: dict[str, Any]) -> None:
            print(json.dumps(fields), file=file, flush=True)

        if given.part == "environment":
            write(environment(device))
        else:
            PARTS[given.part](
                SIZES[given.size], device, lambda line: write({**asdict(line), "reached": line.reached})
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
