"""A board as values: what every format renders, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from synflow_bench.leaderboard._published import PublishedTable
from synflow_bench.leaderboard._statistics import Estimate
from synflow_bench.suites import DENSE, Ablation, Scalar, Setting

Standing = Literal["best", "tie", "worse", "undecided"]
"""How a row stands at one compression; `undecided` has fewer than two seeds in common with the best, or is
better over them."""

PUBLISHED_SEEDS = 3
PUBLISHED_COMPRESSIONS = 5
"""What some row of a board needs at least; with fewer it is labelled a smoke run."""


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
    `to_best` and `to_baseline` are this row minus the best one and minus the chosen baseline at the same
    compression, paired by seed; `gaps` is, by ablation, this row minus its ablated twin, paired by seed.
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
    to_best: Estimate | None = None
    to_baseline: Estimate | None = None
    gaps: dict[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One pruner with its parameters.

    `area` is the area under accuracy against log compression, divided by its width: a mean accuracy over
    the board's `area_compressions`; None unless some seed has them all; `areas` has it by seed. `intact_to`
    is the largest compression up to which no seed lost a layer. `rank` is 1 for the largest area, None in a
    smoke run. What compares areas is named as in `Entry`.
    """

    label: str
    pruner: str
    parameters: dict[str, Scalar]
    ablation: str
    revision: int
    entries: tuple[Entry, ...]
    areas: dict[int, float]
    area: Estimate | None
    intact_to: float | None
    rank: int | None = None
    area_standing: Standing | None = None
    area_to_best: Estimate | None = None
    area_to_baseline: Estimate | None = None
    area_gaps: dict[str, Estimate] = field(default_factory=dict)

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned network."""
        return self.pruner == DENSE

    @property
    def competes(self) -> bool:
        """Whether this row may be the best: the dense network and ablations only serve to compare."""
        return not self.is_dense and self.ablation == "none"

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
    """The records of one setting, aggregated over seeds; `heading` tells boards of equal titles apart.

    `area_compressions` are those that most rows share, which areas are over. `ablated` are the rows of
    ablations that became columns (`Entry.gaps`) of their plain rows. `baseline` is the label of the row that
    all others are compared with, if one was chosen. `digest` changes when any of the `records` does: the
    first 12 hex digits of the sha256 over their keys and the sha256 of their files.
    """

    id: str
    title: str
    heading: str
    setting: Setting
    compressions: tuple[float, ...]
    area_compressions: tuple[float, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    incidents: tuple[Incident, ...]
    outdated: dict[str, int]
    """Row label -> records of older revisions that were left out."""
    ablated: tuple[Row, ...]
    baseline: str | None
    records: int
    digest: str

    @property
    def ablations(self) -> tuple[str, ...]:
        """The ablations that some row has a gap to, in the order of their names in the schema."""
        present = {name for row in self.rows for entry in row.entries for name in entry.gaps}
        return tuple(name for name in get_args(Ablation) if name in present)

    @property
    def complete_seeds(self) -> int:
        """The most seeds that a competing row has finished at all of the `area_compressions`."""
        return max((self._complete(row) for row in self.rows if row.competes), default=0)

    def _complete(self, row: Row) -> int:
        finished = {entry.compression: entry.top1.keys() for entry in row.entries}
        curves = [set(finished.get(compression, ())) for compression in self.area_compressions]
        return len(set[int].intersection(*curves)) if curves else 0

    @property
    def is_smoke_run(self) -> bool:
        """Whether no row has enough seeds and compressions to publish, or to rank."""
        few = len(self.area_compressions) < PUBLISHED_COMPRESSIONS
        return few or self.complete_seeds < PUBLISHED_SEEDS


@dataclass(frozen=True)
class OverallRank:
    """The mean rank of one row over several settings, 1 the best, with its 95 % bootstrap interval."""

    label: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Overall:
    """Ranks over settings; `left_out` has the labels of rows that some of `settings` (headings) lack."""

    settings: tuple[str, ...]
    rows: tuple[OverallRank, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class Leaderboard:
    """All boards, the ranks over them where there are any, and published tables where they were asked for."""

    boards: tuple[Board, ...]
    overall: Overall | None = None
    published: tuple[PublishedTable, ...] = ()

    def published_for(self, board: Board) -> tuple[PublishedTable, ...]:
        """The published tables of the board's data set and network."""
        setting = board.setting
        return tuple(
            table
            for table in self.published
            if (table.dataset, table.model) == (setting.dataset, setting.model.name)
        )

    @property
    def published_alone(self) -> tuple[PublishedTable, ...]:
        """The published tables that no board matches."""
        ours = {(board.setting.dataset, board.setting.model.name) for board in self.boards}
        return tuple(table for table in self.published if (table.dataset, table.model) not in ours)
