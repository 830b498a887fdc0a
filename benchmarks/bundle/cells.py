"""Cells of one epoch in a run, beside the same work in a plain loop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import conventional
import torch
from bundle.measuring import PLUGINS, Line, Network, Report, network, seconds, weights_of
from conventional import accuracy_of, snip_masks, train_epoch
from torch.utils.data import DataLoader, Subset

from synflow_bench.errors import one_line
from synflow_bench.execution import Resources
from synflow_bench.host import Host, PluginFile
from synflow_bench.records import Record
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting
from synflow_bench.training import most_batched, usable_cores


@dataclass(frozen=True)
class CellWork:
    """Cells of one epoch, and the ratio to reach.

    Attributes:
        model: The name of the network.
        data: The name of the dataset.
        cells: The number of cells that are timed, where each is trained alone; a batch is timed whole.
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


ALL = {"epochs": 1, "validation_fraction": 0.0}
"""Both train on all examples."""
ADAM = {**ALL, "optimizer": "adam", "lr": 1e-3, "batch_size": 64}
MOMENTUM = {**ALL, "optimizer": "momentum", "lr": 0.1, "weight_decay": 1e-4, "batch_size": 128}
FASTEST = {"precision": "bf16", "channels_last": True}

DATA_WORKERS = 4
"""The most processes that load data for the second baseline; the first loads them in its own process."""


def cells(works: Sequence[CellWork], device: torch.device, report: Report) -> None:
    """Time each work in a run whose worker has started, and at once in a plain loop, once per network."""
    baselines: dict[str, tuple[float, float]] = {}
    data_workers = min(DATA_WORKERS, usable_cores())
    for work in works:
        line = Line(work.title, None, least_ratio=work.ratio)
        try:
            here, note = run_cells(work, device)
        except Exception as error:  # the others are still to be measured
            report(replace(line, note=f"failed: {one_line(error)}"))
            continue
        line = replace(line, here=here, note=note)
        report(line)
        if work.model not in baselines:
            alone = conventional_cell(work, device)
            report(replace(line, conventional=alone))
            baselines[work.model] = alone, conventional_cell(work, device, data_workers)
        alone, helped = baselines[work.model]
        report(replace(line, conventional=alone))
        with_workers = f"{work.title}, baseline with {data_workers} data workers"
        report(replace(line, what=with_workers, conventional=helped, least_ratio=None))


def run_cells(work: CellWork, device: torch.device) -> tuple[float, str]:
    """Return the seconds per cell, and how many there were and which engines trained them.

    Two cells begin, so that the worker has loaded all it needs, and has tried if it can train a batch.
    """
    setting = Setting(dataset=work.data, model=ModelSpec(name=work.model), recipe=Recipe(**work.recipe))
    pruner = PrunerSpec(name="snip", label="snip")
    with tempfile.TemporaryDirectory() as folder:
        place = Resources(Path(folder), str(device), 1, plugins=tuple(map(PluginFile.read, PLUGINS)))
        executor = Host.load().executors.get("local")(place, lambda _cell, _epoch: None)

        def run(seeds: range) -> list[Record]:
            for seed in seeds:
                executor.submit(Cell(setting=setting, pruner=pruner, compression=10, seed=seed))
            return list(executor.finished())

        try:
            records = run(range(2))
            batched = {record.provenance.engine for record in records} & {"stacked", "vmapped"}
            count = most_batched(device.type) if batched else work.cells
            started = time.perf_counter()
            records += run(range(2, 2 + count))
            spent = time.perf_counter() - started
        finally:
            executor.close()
    if failed := [record.error.message for record in records if record.error]:
        raise RuntimeError(f"a cell failed: {failed[0]}")
    engines = ", ".join(sorted({str(record.provenance.engine) for record in records[2:]}))
    return spent / count, f"{count} cells, {work.data}; engine {engines}"


def conventional_cell(work: CellWork, device: torch.device, data_workers: int = 0) -> float:
    """Return the seconds of one cell with data loaders and masks in the forward pass, after a short one."""
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
    batch, lr = work.recipe["batch_size"], work.recipe["lr"]

    def cell(most: int) -> None:
        few = Subset(training, range(min(most, len(training))))
        model = network(Network(work.model, dataset.input_shape), device)
        names = weights_of(model)
        first = next(iter(DataLoader(few, batch_size=100, shuffle=True)))
        masks = snip_masks(model, names, first[0].to(device), first[1].to(device), 10)
        optimizer: torch.optim.Optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        if work.recipe["optimizer"] == "momentum":
            optimizer = torch.optim.SGD(
                model.parameters(),
                lr=lr,
                momentum=0.9,
                nesterov=True,
                weight_decay=work.recipe["weight_decay"],
            )
        batches = DataLoader(few, batch_size=batch, shuffle=True, num_workers=data_workers)
        train_epoch(model, masks, batches, optimizer)
        tested = Subset(test, range(min(most, len(test))))
        accuracy_of(model, masks, DataLoader(tested, batch_size=256, num_workers=data_workers))

    cell(4 * batch)
    return seconds(lambda: cell(len(training)), device, warm_ups=0)
