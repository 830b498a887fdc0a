"""A board as values: what every format renders, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.suites import DENSE, Scalar, Setting

Standing = Literal["best", "tie", "worse", "undecided"]
"""How a row stands at one compression; `undecided` has fewer than two seeds in common with the best."""

PUBLISHED_SEEDS = 3
PUBLISHED_COMPRESSIONS = 5
"""What a board needs at least; with fewer it is labelled a smoke run."""


@dataclass(frozen=True)
class Collapse:
    """A layer with no weight (effectively) left, and in how many seeds."""

    layer: str
    seeds: int


@dataclass(frozen=True)
class Entry:
    """One row at one compression, over the seeds that finished.

    `top1` holds the final epoch's test accuracy, a share in [0, 1], by seed. The other numbers are means over
    the same seeds; None where no record has them. `standing` is None where no best can be claimed.
    """

    compression: float
    top1: dict[int, float]
    accuracy: Estimate | None
    standing: Standing | None
    achieved_compression: float | None
    effective_compression: float | None
    theoretical_speedup: float | None
    prune_seconds: float | None
    collapsed: tuple[Collapse, ...]
    diverged: int
    failed: int
    skipped: int


@dataclass(frozen=True)
class Row:
    """One pruner with its parameters.

    `area` is the area under accuracy against log compression, divided by its width: a mean accuracy over
    all compressions above 1; None unless some seed has them all. `intact_to` is the largest compression up
    to which no seed lost a layer.
    """

    label: str
    pruner: str
    parameters: dict[str, Scalar]
    ablation: str
    revision: int
    entries: tuple[Entry, ...]
    area: Estimate | None
    intact_to: float | None

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned network."""
        return self.pruner == DENSE

    def at(self, compression: float) -> Entry | None:
        """The entry at `compression`, if anything was recorded there."""
        return next((entry for entry in self.entries if entry.compression == compression), None)


@dataclass(frozen=True)
class Incident:
    """Cells of one row that failed or were skipped for the same reason."""

    row: str
    status: str
    kind: str
    message: str
    cells: tuple[tuple[float, int], ...]
    """Compression and seed of each."""


@dataclass(frozen=True)
class Board:
    """The records of one setting, aggregated over seeds; `heading` tells boards of equal titles apart."""

    id: str
    title: str
    heading: str
    setting: Setting
    compressions: tuple[float, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    incidents: tuple[Incident, ...]
    outdated: dict[str, int]
    """Row label -> records of older revisions that were left out."""

    @property
    def is_smoke_run(self) -> bool:
        """Whether there are too few seeds or compressions to publish."""
        pruned = [compression for compression in self.compressions if compression > 1]
        return len(self.seeds) < PUBLISHED_SEEDS or len(pruned) < PUBLISHED_COMPRESSIONS
