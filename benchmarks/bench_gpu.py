"""The speed on a GPU, relative to the same work written as in most research code.

`python benchmarks/bench_gpu.py` prints the table, or the reason why there is none. `--device cpu
--size test` only tests every line of it, in seconds, on small networks. The data are made up.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.utils.data
from bench_training_step import training_of
from conventional import grasp_masks, masked_forward, snip_masks, synflow_masks
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from synflow_bench import prune
from synflow_bench.compaction import compact
from synflow_bench.execution import Resources, make_context
from synflow_bench.graph import trace
from synflow_bench.host import Host, PluginFile
from synflow_bench.pruning import Masks
from synflow_bench.records import Record
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import Batch, TrainingStep

WAYS: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "bf16, channels last": {"precision": "bf16", "channels_last": True},
    "compiled": {"compile": "yes"},
    "CUDA graphs": {"compile": "cuda-graphs"},
    "bf16, channels last, CUDA graphs": {
        "precision": "bf16",
        "channels_last": True,
        "compile": "cuda-graphs",
    },
}
"""Fields of a recipe that make the steps of a large network faster."""

DATA = Path(__file__).with_name("made_up_data.py")


@dataclass(frozen=True)
class Size:
    """The amount of work: networks, rounds, cells and steps."""

    large: str
    image: tuple[int, int, int]
    second: str
    second_image: tuple[int, int, int]
    examples: int
    rounds: int
    batch: int
    cells: int
    steps: int
    data: str


FULL = Size(
    "lottery/vgg16-bn", (3, 32, 32), "tinyimagenet/resnet18", (3, 64, 64), 100, 100, 128, 16, 20, "large"
)
TEST = Size("conv", (1, 12, 12), "fc", (1, 8, 8), 20, 3, 8, 2, 2, "small")


@dataclass(frozen=True)
class Line:
    """One comparison, in seconds."""

    what: str
    conventional: float
    here: float

    @property
    def ratio(self) -> float:
        """The factor by which synflow-bench is faster."""
        return self.conventional / self.here

    @property
    def per_hour(self) -> float:
        """The number of times per hour that synflow-bench does it."""
        return 3600 / self.here


def seconds(work: Callable[[], object], device: torch.device, times: int = 1) -> float:
    """Return the mean wall seconds of `times` runs, after one that warms up."""
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


def network(name: str, shape: tuple[int, int, int], device: torch.device) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = Host.load().models.get(name)(shape, 10)
    return model.to(device)


def weights_of(model: nn.Module) -> list[str]:
    return [name for name, p in model.named_parameters() if p.dim() > 1]


def synflow(name: str, shape: tuple[int, int, int], size: Size, device: torch.device) -> Line:
    """`synflow` at compression 10."""
    model, rounds = network(name, shape, device), size.rounds
    names = weights_of(model)
    ours = seconds(
        lambda: prune(model, f"synflow[rounds={rounds}]", compression=10, input_shape=shape), device
    )
    theirs = seconds(lambda: synflow_masks(model, names, shape, 10, rounds), device)
    return Line(f"synflow, {rounds} rounds, {name}", theirs, ours)


def gradient_method(pruner: str, size: Size, device: torch.device) -> Line:
    """`snip` or `grasp` at compression 10."""
    model, shape = network(size.large, size.image, device), size.image
    labels = torch.arange(size.examples, device=device) % 10
    data = torch.randn(size.examples, *shape, device=device), labels
    formula = {"snip": snip_masks, "grasp": grasp_masks}[pruner]
    ours = seconds(lambda: prune(model, pruner, compression=10, input_shape=shape, data=data), device)
    theirs = seconds(lambda: formula(model, weights_of(model), *data, 10), device)
    return Line(f"{pruner}, {size.examples} examples, {size.large}", theirs, ours)


def training(size: Size, compression: float, device: torch.device) -> Line:
    """Compare a step with the masks of `synflow` at `compression`: the masked and the compacted network."""
    model, shape = network(size.large, size.image, device), size.image
    pruner = f"synflow[rounds={size.rounds}]"
    masks = prune(model, pruner, compression=compression, input_shape=shape)
    batch = torch.randn(size.batch, *shape, device=device), torch.arange(size.batch, device=device) % 10
    theirs = seconds(masked_step(model, masks, *batch), device, size.steps)
    ours = seconds(harness_step(model, masks, *batch), device, size.steps)
    return Line(f"training step, {size.large}, compression {compression:g}", theirs, ours)


def masked_step(model: nn.Module, masks: Masks, inputs: Tensor, labels: Tensor) -> Callable[[], object]:
    """Return a step with masks multiplied in the forward pass, which reads the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    step_of = masked_step_with(model, {name: mask.float() for name, mask in masks.items()}, optimizer)
    return lambda: step_of(inputs, labels)


def quicker_training(size: Size, dense: Line, device: torch.device) -> list[Line]:
    """Compare the `dense` step with each of the `WAYS` that the device supports."""
    model, shape = network(size.large, size.image, device), size.image
    masks = Masks.ones({name: p for name, p in model.named_parameters() if p.dim() > 1})
    batch = torch.randn(size.batch, *shape, device=device), torch.arange(size.batch, device=device) % 10
    lines = []
    for name, way in ways_for(size, device).items():
        step = harness_step(deepcopy(model), masks, *batch, **way)
        for _ in range(2):
            step()  # CUDA graphs are recorded in the second
        what = f"training step, {size.large}, {name}"
        lines.append(Line(what, dense.conventional, seconds(step, device, size.steps)))
    return lines


def ways_for(size: Size, device: torch.device) -> dict[str, dict[str, Any]]:
    """Return the `WAYS` that the device supports; a test on a CPU does not compile, which takes too long."""
    if device.type == "cuda":
        return WAYS
    known = ("no", "yes") if size is FULL else ("no",)
    return {name: way for name, way in WAYS.items() if way.get("compile", "no") in known}


def harness_step(
    model: nn.Module, masks: Masks, inputs: Tensor, labels: Tensor, **way: Any
) -> Callable[[], object]:
    """Return a step of synflow-bench, on the compacted network."""
    shape, recipe = tuple(inputs.shape[1:]), Recipe(epochs=1, lr=1e-4, batch_size=len(labels), **way)
    graph = trace(deepcopy(model).cpu(), torch.zeros(1, *shape))  # as the harness does, on the CPU
    small = compact(model, masks, graph, shape)
    trained, kept = (small.model, small.masks) if small else (model, masks)
    step = TrainingStep.of(training_of(trained, kept, recipe, shape))
    return lambda: step([Batch(inputs, labels, recipe.lr)])


def cell_lines(size: Size, device: torch.device) -> list[Line]:
    """Compare cells of small networks, those of `conv` also in bf16."""
    lines, counts = [], (1, 2, 4) if size is FULL else (2,)
    for model, precisions in {"fc": ("fp32",), "conv": ("fp32", "bf16")}.items():
        conventional = conventional_cell(model, size, device)
        for precision, workers in product(precisions, counts):
            recipe = Recipe(epochs=1, optimizer="adam", lr=1e-3, batch_size=64, precision=precision)
            name = model if precision == "fp32" else f"{model}, {precision}"
            here = cells(model, recipe, workers, size, device)
            lines.append(Line(f"cell, {name}, 1 epoch, {workers} on one device", conventional, here))
    return lines


def cells(model: str, recipe: Recipe, workers: int, size: Size, device: torch.device) -> float:
    """Return the seconds per cell of a run whose workers have started, each with one cell."""
    setting = Setting(dataset=f"made-up-{size.data}", model=ModelSpec(name=model), recipe=recipe)
    pruner = PrunerSpec(name="snip", label="snip")
    with tempfile.TemporaryDirectory() as folder:
        place = Resources(Path(folder), str(device), workers, plugins=(PluginFile.read(DATA),))
        executor = Host.load().executors.get("local")(place, lambda _cell, _epoch: None)

        def run(seeds: range) -> list[Record]:
            for seed in seeds:
                executor.submit(Cell(setting=setting, pruner=pruner, compression=10, seed=seed))
            return list(executor.finished())

        records = run(range(workers))
        started = time.perf_counter()
        records += run(range(workers, workers + size.cells))
        spent = time.perf_counter() - started
        executor.close()
    if failed := [record.error.message for record in records if record.error]:
        raise SystemExit(f"a cell failed: {failed[0]}")
    return spent / size.cells


def conventional_cell(model: str, size: Size, device: torch.device) -> float:
    """Return the seconds of one cell in this process, with a data loader and masks in the forward pass."""
    context = make_context(Resources(Path(), plugins=(PluginFile.read(DATA),)), str(device))
    data = context.data(f"made-up-{size.data}")
    pairs = torch.utils.data.TensorDataset(
        data.train.inputs(torch.arange(len(data.train))).cpu(), data.train.labels.cpu()
    )
    net = network(model, data.input_shape, device)
    names = weights_of(net)
    started = time.perf_counter()
    first = next(iter(torch.utils.data.DataLoader(pairs, batch_size=100, shuffle=True)))
    kept = snip_masks(net, names, first[0].to(device), first[1].to(device), 10)
    step_of = masked_step_with(net, kept, torch.optim.Adam(net.parameters(), lr=1e-3))
    for inputs, labels in torch.utils.data.DataLoader(pairs, batch_size=64, shuffle=True):
        step_of(inputs.to(device), labels.to(device))
    with torch.no_grad():
        for inputs, labels in torch.utils.data.DataLoader(pairs, batch_size=256):
            (masked_forward(net, kept, inputs.to(device)).argmax(1).cpu() == labels).sum().item()
    return time.perf_counter() - started


def masked_step_with(
    model: nn.Module, masks: dict[str, Tensor], optimizer: torch.optim.Optimizer
) -> Callable[[Tensor, Tensor], float]:
    def step(inputs: Tensor, labels: Tensor) -> float:
        optimizer.zero_grad()
        loss = cross_entropy(masked_forward(model, masks, inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    return step


def table(size: Size, device: torch.device) -> list[Line]:
    """Return all comparisons."""
    lines = cell_lines(size, device)
    lines.append(synflow(size.large, size.image, size, device))
    lines.append(synflow(size.second, size.second_image, size, device))
    lines += [gradient_method(pruner, size, device) for pruner in ("snip", "grasp")]
    steps = [training(size, compression, device) for compression in (1.0, 100.0, 1000.0)]
    return [*lines, *steps, *quicker_training(size, steps[0], device)]


def render(lines: Sequence[Line]) -> str:
    """Return the table as text."""
    head = f"{'what':68}{'conventional':>14}{'here':>12}{'ratio':>8}{'per hour':>12}"
    rows = [
        f"{each.what:68}{each.conventional:>12.4f} s{each.here:>10.4f} s"
        f"{each.ratio:>8.1f}{each.per_hour:>12,.0f}"
        for each in lines
    ]
    dense = next(each for each in lines if each.what.endswith("compression 1"))
    steps = [each for each in lines if each.what.startswith("training step") and each is not dense]
    shares = [f"{each.what}: {each.here / dense.here:.2f} of a dense step" for each in steps]
    return "\n".join([head, *rows, "", *shares])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=["full", "test"], default="full")
    given = parser.parse_args(arguments)
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device here; `--device cpu --size test` only tests the code")
        return 0
    device = torch.device(given.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    print(f"{name}, torch {torch.__version__}, size {given.size}\n")
    print(render(table(FULL if given.size == "full" else TEST, device)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
