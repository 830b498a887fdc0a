"""The two boards of the report: their suites, and the options of `run`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ARCHIVE = "cifar10-jpeg.tar.gz"
"""The images of the CIFAR board, where they are in the data folder."""

FC_PRUNERS = (
    "balanced",
    "erk",
    "force",
    "fts",
    "grasp",
    "grasp-abs",
    "hts",
    "igq",
    "iter-snip",
    "lamp",
    "magnitude",
    "npb",
    "ntk-sap",
    "phew",
    "prospr",
    "px",
    "random",
    "smart-ratio",
    "snip",
    "synflow",
    "synflow-l2",
    "uniform",
    "uniform-plus",
)
"""The pruners of the fc board: with 5 compressions and 5 seeds, 575 cells beside the dense ones."""

BOARD_PRUNERS = ("random", "magnitude", "snip", "grasp", "synflow", "synflow-l2", "iter-snip", "erk")
"""The pruners of the CIFAR board."""


@dataclass(frozen=True)
class Board:
    """A board: a suite, and options of `run`."""

    suite: str
    options: tuple[str, ...]
    plan: str
    most_seconds: float | None = None


def board_of(name: str, size: str, seconds: float, lines: Sequence[Mapping[str, Any]]) -> Board:
    """Return the board `name` in a size, for so many seconds, given the measured lines of cells."""
    test, cifar = size == "test", name == "CIFAR board"
    data = ROOT / "data"
    if not cifar:
        dataset = "made-up-small" if test else "fashion-mnist"
        dataset = dataset if test or (data / "fashion-mnist").is_dir() else "made-up-large"
        suite = suite_text(dataset, "fc", 'optimizer = "adam"\nlr = 2e-3\nbatch_size = 256')
        pruned = ["snip", "random"] if test else FC_PRUNERS
        options = [word for name in pruned for word in ("--pruner", name)]
        options += ["--epochs", "1" if test else "10", "--seeds", "1" if test else "5"]
        options += compressions((2, 10) if test else (2, 10, 50, 100, 500))
        return Board(suite, tuple(options), "1 epoch" if test else "10 epochs", None if test else 180.0)
    dataset = "cifar10-jpeg" if (data / ARCHIVE).is_file() else "made-up-color"
    dataset = "made-up-few-color" if test else dataset
    recipe = 'optimizer = "momentum"\nlr = 0.1\nschedule = "cosine"\nweight_decay = 1e-4\nbatch_size = 128\n'
    recipe += "" if test else 'precision = "bf16"\nchannels_last = true\n'
    pruners = BOARD_PRUNERS[:1] if test else BOARD_PRUNERS
    seeds, ratios = (1, (10,)) if test else (3, (4, 16, 64, 256))
    count = len(pruners) * len(ratios) * seeds
    times = [line["here"] for line in lines if "resnet20, bf16" in line["what"] and line["here"]]
    epochs = epochs_that_fit(seconds, count, times[0] if times else None)
    options = [*(word for pruner in pruners for word in ("--pruner", pruner)), *compressions(ratios)]
    options += ["--seeds", str(seeds), "--epochs", "1" if test else str(epochs)]
    plan = f"{epochs} epoch{'s' * (epochs != 1)} on {dataset}"
    return Board(suite_text(dataset, "lottery/resnet20", recipe), tuple(options), plan)


def epochs_that_fit(seconds: float, cells: int, per_epoch: float | None) -> int:
    """Return the epochs for which cells have time; one where the time of an epoch is not known.

    Half of the time is for pruning, evaluation and the start of the worker.
    """
    return max(1, int(seconds / 2 / cells / per_epoch)) if per_epoch else 1


def compressions(ratios: Sequence[int]) -> list[str]:
    """Return the options of `run` for compression ratios."""
    return [word for ratio in ratios for word in ("--compression", str(ratio))]


def suite_text(dataset: str, model: str, recipe: str) -> str:
    """Return a suite with one setting."""
    setting = f'[[settings]]\ndataset = "{dataset}"\nmodel = "{model}"\n'
    head = 'name = "report"\ndescription = "a board of the report"\ncompressions = [10]\nseeds = 1\n'
    return f"{head}\n{setting}\n[settings.recipe]\nepochs = 1\n{recipe}\n"
