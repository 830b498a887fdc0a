"""Parts of the report on a device: each measures, and appends a line of JSON per result to a file.

`python benchmarks/bundle/parts.py pruning --device cuda --lines FILE` runs one; `run.py` runs all of them.
The baseline of every ratio is the same work in `conventional.py` on the same device.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from bundle.cells import ADAM, FASTEST, MOMENTUM, CellWork, cells
from bundle.measuring import Line, Network, Report, as_in_a_worker, network, seconds, weights_of
from conventional import grasp_masks, masked_forward, snip_masks, synflow_masks
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench import prune
from synflow_bench.compaction import compact
from synflow_bench.errors import one_line
from synflow_bench.graph import trace
from synflow_bench.pruning import Masks
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    BatchedStep,
    LoadedData,
    Streams,
    Training,
    TrainingData,
    TrainingStep,
    VmappedStep,
    algorithms,
    describe,
    most_batched,
)
from synflow_bench.training.batched import is_batchable
from synflow_bench.training.graphed import graphed

WAYS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "compiled": {"compile": "yes"},
}
"""Fields of a recipe that change the speed of the steps of a large network."""


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
        batches: Networks whose steps are taken in a batch of them and alone, with the examples of each.
    """

    synflow: tuple[tuple[Network, float | None, int], ...]
    network: Network
    rounds: int
    examples: int
    cells: tuple[CellWork, ...]
    batch: int
    steps: int
    ways: tuple[str, ...]
    batches: tuple[tuple[Network, int], ...]


FULL = Size(
    synflow=(
        (Network("lottery/vgg16-bn", (3, 32, 32)), 1.5, 5),
        (Network("imagenet/vgg19", (3, 224, 224)), 4.0, 3),
    ),
    network=Network("lottery/vgg16-bn", (3, 32, 32)),
    rounds=100,
    examples=100,
    cells=(
        CellWork("fc", "made-up-large", 32, ADAM, 50),
        CellWork("lottery/resnet20", "made-up-color", 8, {**MOMENTUM, **FASTEST}, 8),
        CellWork("conv", "made-up-large", 16, {**ADAM, **FASTEST}),
        CellWork("conv", "made-up-large", 16, ADAM, 20),
        CellWork("lottery/resnet20", "made-up-color", 8, MOMENTUM),
    ),
    batch=128,
    steps=20,
    ways=tuple(WAYS),
    batches=(
        (Network("fc", (1, 28, 28)), 64),
        (Network("conv", (1, 28, 28)), 64),
        (Network("lottery/resnet20", (3, 32, 32)), 128),
    ),
)
TEST = Size(
    synflow=((Network("fc", (1, 8, 8)), 1.5, 2), (Network("conv", (1, 12, 12)), None, 2)),
    network=Network("conv", (1, 12, 12)),
    rounds=3,
    examples=20,
    cells=(
        CellWork("fc", "made-up-small", 2, ADAM, 50),
        CellWork("lottery/resnet20", "made-up-few-color", 1, MOMENTUM),
        CellWork("conv", "made-up-small", 1, {**ADAM, **FASTEST}),
    ),
    batch=8,
    steps=2,
    ways=("fp32", "bf16, channels last"),  # to compile takes too long
    batches=((Network("fc", (1, 8, 8)), 8), (Network("conv", (1, 8, 8)), 8)),
)
SIZES = {"full": FULL, "test": TEST}


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
        synflow_masks(model, names, chosen.shape, 10, 1)  # libraries set themselves up
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


# Steps


def steps(size: Size, device: torch.device, report: Report) -> None:
    """Time steps in several ways, of pruned networks, and of batches; compiled ones last: they take long."""
    compiled = [way for way in size.ways if "compile" in WAYS[way]]
    steps_in_ways(size, [way for way in size.ways if way not in compiled], device, report)
    pruned_steps(size, device, report)
    batched_steps(size, device, report)
    steps_in_ways(size, compiled, device, report)


def noise(shape: tuple[int, ...], examples: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return inputs and labels of a batch."""
    return torch.randn(examples, *shape, device=device), torch.arange(examples, device=device) % 10


def steps_in_ways(size: Size, ways: Sequence[str], device: torch.device, report: Report) -> None:
    """Time steps of a dense network in these ways of `WAYS`."""
    model, batch = network(size.network, device), noise(size.network.shape, size.batch, device)
    dense = Masks.ones({name: p for name, p in model.named_parameters() if p.dim() > 1})
    spent = seconds(masked_step(deepcopy(model), dense, *batch), device, size.steps) if ways else None
    for way in ways:
        line = Line(f"training step, {size.network.name}, {way}", None, spent)
        try:
            with as_in_a_worker(device):
                step = harness_step(deepcopy(model), dense, *batch, **WAYS[way])
                report(replace(line, here=seconds(step, device, size.steps, warm_ups=5)))
        except Exception as error:  # a machine without a compiler cannot compile
            report(replace(line, note=f"failed: {one_line(error)}"))


def pruned_steps(size: Size, device: torch.device, report: Report) -> None:
    """Time steps of networks that `synflow` has pruned."""
    model, shape = network(size.network, device), size.network.shape
    batch = noise(shape, size.batch, device)
    for compression in (100.0, 1000.0):
        masks = prune(model, f"synflow[rounds={size.rounds}]", compression=compression, input_shape=shape)
        line = Line(f"training step, {size.network.name}, compression {compression:g}", None)
        line = replace(
            line, conventional=seconds(masked_step(deepcopy(model), masks, *batch), device, size.steps)
        )
        with as_in_a_worker(device):
            step = harness_step(deepcopy(model), masks, *batch)
            report(replace(line, here=seconds(step, device, size.steps, warm_ups=5)))


def batched_steps(size: Size, device: torch.device, report: Report) -> None:
    """Time steps of full batches of networks, per network, beside the step of one alone; both are ours."""
    for chosen, examples in size.batches:
        line = Line(f"step per network, {chosen.name}, in a batch of {most_batched(device.type)}", None)
        try:
            with as_in_a_worker(device):
                line = batched_step(line, chosen, examples, size.steps, device)
        except Exception as error:  # perhaps the memory is too small for one of them
            line = replace(line, note=f"failed: {one_line(error)}")
        report(line)


def batched_step(line: Line, chosen: Network, examples: int, times: int, device: torch.device) -> Line:
    """Return the line with the times of both steps."""
    model, count = network(chosen, device), most_batched(device.type)
    masks = prune(model, "magnitude", compression=10, input_shape=chosen.shape)
    recipe = Recipe(epochs=1, lr=1e-4, batch_size=examples)
    one, *many = (training_of(deepcopy(model), masks, recipe, chosen.shape) for _ in range(1 + count))
    kind = BatchedStep if is_batchable(model) else VmappedStep
    alone, batch = graphed(TrainingStep.of(one), one), graphed(kind(many), many[0])
    given = Batch(*noise(chosen.shape, examples, device), recipe.lr)
    spent = seconds(lambda: alone([given]), device, times, warm_ups=5)
    whole = seconds(lambda: batch([given] * count), device, times, warm_ups=5)
    note = f"not conventional: both are synflow-bench's, {alone.engine} and {batch.engine}"
    return replace(line, here=whole / count, conventional=spent, note=note)


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
    training = training_of(trained, kept, recipe, shape)
    step = graphed(TrainingStep.of(training), training)
    return lambda: step([Batch(inputs, labels, recipe.lr)])


def training_of(model: nn.Module, masks: Masks, recipe: Recipe, shape: tuple[int, ...]) -> Training:
    """Return a training of a network; no step reads its data."""
    split = _split(shape, next(model.parameters()).device)
    streams = Streams(torch.Generator(), torch.Generator())
    return Training(model, masks, recipe, TrainingData(split, None, split, None), streams)


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


def cells_of(name: str, size: Size, device: torch.device, report: Report) -> None:
    """Time the cells of a network, which is named without its family."""
    cells([work for work in size.cells if work.model.rpartition("/")[2] == name], device, report)


PARTS: dict[str, Callable[[Size, torch.device, Report], None]] = {
    "pruning": pruning,
    **{f"cells {name}": partial(cells_of, name) for name in ("fc", "resnet20", "conv")},
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
