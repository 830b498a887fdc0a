"""Records that look like those of a large study, written without any training."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from synflow_bench.records import Epoch, Layer, Metrics, Provenance, Record, Timing, key_of
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Revisions, Setting, dense_cell

COMPRESSIONS = tuple(round(10 ** (step / 4), 4) for step in range(1, 13))
PRUNERS = 12
EPOCHS = 12
LAYERS, WEIGHTS = 6, 10_000


def write_records(root: Path, count: int, seeds: int = 5) -> None:
    """Write `count` records of about 5 kB below `root`, in as few settings as possible."""
    (root / "records").mkdir(parents=True)
    (root / "store.json").write_text('{"schema": 1}\n')
    for _, cell in zip(range(count), _cells(seeds), strict=False):
        record = _record(cell)
        folder = root / "records" / cell.setting.dataset / cell.setting.model.name / cell.pruner.name
        folder.mkdir(parents=True, exist_ok=True)
        # Not through the store: a hundred thousand fsyncs would take minutes.
        (folder / f"{record.key}.json").write_text(record.to_json())


def _cells(seeds: int) -> Iterator[Cell]:
    recipe = Recipe(epochs=EPOCHS, optimizer="adam", lr=1e-3)
    for number in range(10**6):
        setting = Setting(
            dataset=f"data{number // 10}", model=ModelSpec(name=f"net{number % 10}"), recipe=recipe
        )
        yield from (dense_cell(setting, seed, Revisions()) for seed in range(seeds))
        for pruner, compression, seed in product(range(PRUNERS), COMPRESSIONS, range(seeds)):
            name = f"pruner{pruner}"
            spec = PrunerSpec(name=name, parameters={"rounds": 1, "schedule": "exponential"}, label=name)
            yield Cell(setting=setting, pruner=spec, compression=compression, seed=seed)


def _record(cell: Cell) -> Record:
    draw = random.Random(key_of(cell))  # noqa: S311
    top1 = 0.9 - 0.1 * draw.random() - min(0.5, cell.compression / 2000)
    layers = _layers(cell)
    return Record(
        key=key_of(cell),
        status="ok",
        cell=cell,
        metrics=_metrics(layers, top1),
        layers=layers,
        curve=tuple(_point(epoch, top1 * draw.random()) for epoch in range(EPOCHS + 1)),
        timing=Timing(prune_seconds=draw.random(), train_seconds=draw.random(), total_seconds=2.0),
        provenance=_PROVENANCE,
        masks="0" * 64,
    )


def _metrics(layers: tuple[Layer, ...], top1: float) -> Metrics:
    size, kept = sum(layer.size for layer in layers), sum(layer.kept for layer in layers)
    return Metrics(
        test_top1=top1,
        test_top5=0.99,
        test_loss=1 - top1,
        val_top1=top1,
        max_test_top1=min(1.0, top1 + 0.01),
        init_top1=0.1,
        density=kept / size,
        compression=size / kept,
        compression_all=1 + 0.99 * (size / kept - 1),
        effective_compression=size / kept,
        theoretical_speedup=size / kept,
    )


def _layers(cell: Cell) -> tuple[Layer, ...]:
    """Return layers that keep equal shares; the first also keeps the remainder."""
    total = round(cell.density * WEIGHTS * LAYERS)
    each, rest = divmod(total, LAYERS)
    return tuple(_layer(number, each + rest * (number == 0)) for number in range(LAYERS))


def _layer(number: int, kept: int) -> Layer:
    return Layer(
        name=f"linear{number}.weight",
        shape=(100, 100),
        size=WEIGHTS,
        kept=kept,
        effective_kept=kept,
        macs=WEIGHTS,
    )


def _point(epoch: int, top1: float) -> Epoch:
    return Epoch(
        epoch=epoch, lr=1e-3, train_loss=1.0 - top1, val_top1=top1, test_top1=top1, test_loss=1 - top1
    )


_PROVENANCE = Provenance(
    created="2000-01-01T00:00:00Z",
    synflow_bench="0.1.0",
    torch="2.9.0",
    python="3.11.0",
    platform="Linux-6.1-x86_64",
    device="cpu",
    threads=1,
    score_dtype="float32",
    plugins={"synflow-bench": "0.1.0"},
)
