"""A leaderboard as values: what every format renders, and nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, get_args

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard.published import PublishedTable
from synflow_bench.leaderboard.statistics import Estimate, Standing
from synflow_bench.suites import DENSE, Ablation, Scalar, Setting

if TYPE_CHECKING:
    import pandas

    from synflow_bench.leaderboard.tuning import Tuned
    from synflow_bench.records import Result

RANKED_SEEDS = 3
RANKED_COMPRESSIONS = 5
"""The fewest seeds and compressions that some row needs; without such a row a board is preliminary."""
MARGIN = 0.01
"""The default margin of equivalence, as a share: one percentage point."""


@dataclass(frozen=True)
class CollapsedLayer:
    """A layer without any effective weight, and the number of seeds in which it has none."""

    layer: str
    seeds: int


@dataclass(frozen=True)
class RankRange:
    """The smallest and the largest rank that the data allow."""

    low: int
    high: int


@dataclass(frozen=True)
class MeasuredPoint:
    """Size and speed of the compact networks of a point, measured on one machine; never part of a record.

    Attributes:
        seeds: The seeds whose networks were measured.
        machine: The processor and the versions of the libraries.
        date: The day of the latest measurement, as `2026-01-31`.
        file: The factor by which the file is smaller, mean over these seeds.
        faster: The factors by which the network is faster, mean over these seeds, by runtime and batch size,
            as `torch 64`.
    """

    seeds: tuple[int, ...]
    machine: str
    date: str
    file: float
    faster: dict[str, float]


@dataclass(frozen=True)
class CurvePoint:
    """One row at one compression, over the seeds that finished.

    Attributes:
        compression: The requested compression ratio.
        top1: The final epoch's test accuracy, a share in [0, 1], by seed.
        accuracy: Its mean and interval; None where no seed finished.
        standing: The comparison with the best row at this compression; None where no other row has a value.
        means: The means over the same seeds of the metrics that a record has, by their keys; None where some
            record lacks the number.
        collapsed: The layers that collapsed in some seed.
        diverged: The number of finished cells whose training loss became infinite or NaN.
        failed: The number of cells that failed.
        skipped: The number of cells that were skipped.
        results: The results of this point, finished or not, in the order of their seeds.
        at_chance: The number of finished seeds that do no better than guessing.
        to_best: This row minus the best row, with an interval that holds for all pairs of the board together.
        to_best_uncorrected: The same, paired by seed, with an interval that holds for this pair alone.
        seeds_needed: The seeds that would separate this row from the best; None where the two are separated
            or equivalent, or where too many would be needed.
        to_baseline: This row minus the chosen baseline, paired by seed.
        deltas: By ablation, this row minus its ablated twin, paired by seed.
        measured: Size and speed of compact networks, if they were asked for and could be measured.
    """

    compression: float
    top1: dict[int, float]
    accuracy: Estimate | None
    standing: Standing | None
    means: dict[str, float | None]
    collapsed: tuple[CollapsedLayer, ...]
    diverged: int
    failed: int
    skipped: int
    results: tuple[Result, ...] = field(repr=False, compare=False)
    at_chance: int = 0
    to_best: Estimate | None = None
    to_best_uncorrected: Estimate | None = None
    seeds_needed: int | None = None
    to_baseline: Estimate | None = None
    deltas: dict[str, Estimate] = field(default_factory=dict)
    measured: MeasuredPoint | None = None

    @property
    def is_not_defined(self) -> bool:
        """True if the method is not defined for the network at this compression."""
        return bool(self.results) and all(each.error and each.error.not_defined for each in self.results)


@dataclass(frozen=True)
class BoardRow:
    """One pruner with its parameters.

    Attributes:
        label: The name of the row.
        pruner: The name of the pruner.
        parameters: The parameters of the pruner.
        ablation: The ablation, `none` for a plain row.
        revision: The revision of the pruner.
        points: The accuracy curve, one point per compression.
        aucs: The area under accuracy against log compression, divided by its width, by seed: a mean accuracy
            over the board's `auc_compressions`, for each seed that finished at all of them.
        auc: Its mean and interval; None where no seed has one.
        critical_compression: The largest compression up to which no seed lost a layer.
        collapses: True if some seed lost a layer at a larger compression.
        rank: 1 for the largest AUC; None on a preliminary board.
        rank_range: The ranks that the data allow, together with those of all other rows; None without a rank.
        auc_standing: The comparison with the best AUC; None where no other row has one.
        auc_to_best: This AUC minus the best AUC, with an interval that holds for all pairs of the board
            together.
        auc_to_best_uncorrected: The same, paired by seed, with an interval that holds for this pair alone.
        auc_seeds_needed: The seeds that would separate this AUC from the best one.
        auc_flattery: For the best AUC, its estimated excess over its true mean because it was chosen.
        auc_to_baseline: This AUC minus that of the chosen baseline, paired by seed.
        auc_deltas: By ablation, this AUC minus that of the ablated twin, paired by seed.
        tuned: The value of the recipe's field that was chosen for this row, if the board is tuned.
    """

    label: str
    pruner: str
    parameters: dict[str, Scalar]
    ablation: str
    revision: int
    points: tuple[CurvePoint, ...]
    aucs: dict[int, float]
    auc: Estimate | None
    critical_compression: float | None
    collapses: bool = False
    rank: int | None = None
    rank_range: RankRange | None = None
    auc_standing: Standing | None = None
    auc_to_best: Estimate | None = None
    auc_to_best_uncorrected: Estimate | None = None
    auc_seeds_needed: int | None = None
    auc_flattery: float | None = None
    auc_to_baseline: Estimate | None = None
    auc_deltas: dict[str, Estimate] = field(default_factory=dict)
    tuned: float | None = None

    @property
    def is_dense(self) -> bool:
        """True for the unpruned network."""
        return self.pruner == DENSE

    @property
    def competes(self) -> bool:
        """True if this row may be the best: the dense network and ablations only serve for comparison."""
        return not self.is_dense and self.ablation == "none"

    @property
    def is_defined(self) -> bool:
        """False if no cell was run because the method is not defined for the network at any compression."""
        return not all(point.is_not_defined for point in self.points)

    def at(self, compression: float) -> CurvePoint | None:
        """Return the point at `compression`, None where nothing was recorded."""
        return next((point for point in self.points if point.compression == compression), None)


@dataclass(frozen=True)
class UnfinishedCells:
    """Cells of one row that failed or were skipped for the same reason; `cells` are (compression, seed)."""

    row: str
    status: str
    kind: str
    message: str
    cells: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Board:
    """The records of settings that differ only in their protocol, aggregated over seeds.

    Attributes:
        id: The identity of the setting.
        title: The title of the setting.
        heading: The title, with what distinguishes boards of equal titles.
        setting: The setting.
        compressions: All compressions, in ascending order.
        auc_compressions: The compressions that most rows share, over which AUCs are computed.
        seeds: The seeds that finished anywhere.
        rows: The rows: the dense network first, then by decreasing AUC.
        unfinished: The cells that failed or were skipped, which are not averaged, with the reasons.
        outdated: By row, the number of records of older revisions, which are left out.
        ablated: The rows of ablations that became columns (`CurvePoint.deltas`) of their plain rows.
        margin: The difference of accuracies, as a share, up to which rows count as equivalent.
        compared_columns: The columns (compressions and the AUC) that share the error of false claims.
        measurement: Lines on the measured sizes and speeds: on which machine, and what could not be measured.
        tuned: What was tuned, and its cost; None where all rows have one recipe.
        baseline: The label of the row with which all others are compared, if one was chosen.
        records: The number of records.
        digest: The first 12 hex digits of the sha256 over the keys of the records and the sha256 of their
            files. It changes when any record does.
    """

    id: str
    title: str
    heading: str
    setting: Setting
    compressions: tuple[float, ...]
    auc_compressions: tuple[float, ...]
    seeds: tuple[int, ...]
    rows: tuple[BoardRow, ...]
    unfinished: tuple[UnfinishedCells, ...]
    outdated: dict[str, int]
    ablated: tuple[BoardRow, ...]
    baseline: str | None
    records: int
    digest: str
    margin: float = MARGIN
    compared_columns: int = 0
    measurement: tuple[str, ...] = ()
    tuned: Tuned | None = None

    @property
    def shown(self) -> tuple[BoardRow, ...]:
        """The rows of the tables: those whose method is defined here."""
        return tuple(row for row in self.rows if row.is_defined)

    @property
    def ablations(self) -> tuple[str, ...]:
        """The ablations for which some row has a delta, in the order of the record schema."""
        present = {name for row in self.rows for point in row.points for name in point.deltas}
        return tuple(name for name in get_args(Ablation) if name in present)

    @property
    def complete_seeds(self) -> int:
        """The most seeds that a competing row has finished at all of the `auc_compressions`."""
        return max((self._complete(row) for row in self.rows if row.competes), default=0)

    def is_at_chance(self, row: BoardRow) -> bool:
        """Return True if half or more of the runs of a row at the `auc_compressions` are at chance."""
        points = [point for value in self.auc_compressions if (point := row.at(value))]
        return 2 * sum(point.at_chance for point in points) >= sum(len(point.top1) for point in points) > 0

    def _complete(self, row: BoardRow) -> int:
        finished = {point.compression: point.top1.keys() for point in row.points}
        curves = [set(finished.get(compression, ())) for compression in self.auc_compressions]
        return len(set[int].intersection(*curves)) if curves else 0

    @property
    def is_preliminary(self) -> bool:
        """True if no row has enough seeds and compressions for ranks."""
        few = len(self.auc_compressions) < RANKED_COMPRESSIONS
        return few or self.complete_seeds < RANKED_SEEDS


@dataclass(frozen=True)
class Interval:
    """A value with the 2.5 % and 97.5 % percentiles of its bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OverallRow:
    """One row over several settings.

    Attributes:
        label: The label of the row.
        mean: Its rank, 1 the best, averaged over settings.
        low: The lower end of the 95 % bootstrap interval of the mean rank.
        high: The upper end.
        interquartile_mean: The mean AUC of the middle half of all its runs.
        first_improves: The probability that a run of the first row is better than one of this row, averaged
            over settings; None for the first row.
        profile: The share of its runs whose AUC is above each of `over_settings.THRESHOLDS`.
    """

    label: str
    mean: float
    low: float
    high: float
    interquartile_mean: Interval
    first_improves: Interval | None
    profile: tuple[float, ...] = field(repr=False)


@dataclass(frozen=True)
class RankTest:
    """The tests of a diagram of critical differences.

    Attributes:
        friedman_p: The probability that ranks differ as much where all rows are equal.
        critical_difference: The difference of mean ranks that separates two rows by Nemenyi's test.
        groups: Neighboring rows that are not separated, each group as large as possible.
    """

    friedman_p: float
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class OverallRanking:
    """Rows over several settings.

    Attributes:
        settings: The headings of the boards.
        ranks: The rows, the best first.
        left_out: The labels of rows that some of the settings lack.
        test: The tests of the ranks; None where there are too few settings.
        untested: The reason why there is no test; empty where there is one.
    """

    settings: tuple[str, ...]
    ranks: tuple[OverallRow, ...]
    left_out: tuple[str, ...]
    test: RankTest | None = None
    untested: str = ""

    def of(self, label: str) -> OverallRow | None:
        """Return the rank of the row `label`, None if it was left out."""
        return next((rank for rank in self.ranks if rank.label == label), None)


@dataclass(frozen=True)
class Leaderboard:
    """Boards with the ranks over them, and published tables where they were requested.

    Attributes:
        boards: The boards; settings that differ only in their protocol share one.
        overall: The ranks over all settings; None where there are too few.
        published: Published accuracies, which are never ranked with ours.
        columns: The columns of the tables of accuracies, compressions or numbers of a row; empty for all, and
            for the tables of details.

    Example:
        >>> from synflow_bench.leaderboard import build_leaderboard
        >>> build_leaderboard([]).to_dicts()
        []
    """

    boards: tuple[Board, ...]
    overall: OverallRanking | None = None
    published: tuple[PublishedTable, ...] = ()
    columns: tuple[str, ...] = ()

    def published_for(self, board: Board) -> tuple[PublishedTable, ...]:
        """Return the published tables for the dataset and network of `board`."""
        place = (board.setting.dataset, board.setting.model.name)
        return tuple(table for table in self.published if (table.dataset, table.model) == place)

    @property
    def published_alone(self) -> tuple[PublishedTable, ...]:
        """The published tables that match no board."""
        ours = {(board.setting.dataset, board.setting.model.name) for board in self.boards}
        return tuple(table for table in self.published if (table.dataset, table.model) not in ours)

    def to_dicts(self, *, per_seed: bool = False) -> list[dict[str, Any]]:
        """Return one dictionary per row and compression, the lines of the CSV format.

        Args:
            per_seed: Return one dictionary per record instead, with the metrics of that record.

        Returns:
            Dictionaries with equal keys; accuracies and AUCs are shares in [0, 1], missing numbers None.
        """
        from synflow_bench.leaderboard.data_formats import seed_dicts, to_dicts

        return seed_dicts(self) if per_seed else to_dicts(self)

    def to_dataframe(self, *, per_seed: bool = False) -> pandas.DataFrame:
        """Return `to_dicts` as a data frame.

        Raises:
            UsageError: pandas is not installed.
        """
        from synflow_bench.leaderboard.data_formats import dataframe

        return dataframe(self.to_dicts(per_seed=per_seed))

    def to_markdown(self) -> str:
        """Return the boards as GitHub Markdown."""
        return self._rendered("markdown")

    def to_latex(self) -> str:
        """Return the boards as LaTeX tables; the first line names the packages that they need."""
        return self._rendered("latex")

    def _rendered(self, form: str) -> str:
        from synflow_bench.leaderboard.formats import render

        return render(self, form)

    def chart(
        self,
        heading: str | None = None,
        axis: str = "compression",
        *,
        kind: str = "accuracy",
        budget: float | None = None,
        at: float | None = None,
    ) -> Any:
        """Return a chart of one board, or of all of them, as an altair chart.

        Args:
            heading: The heading, title or id of one board; by default the first board.
            axis: `compression`, or `effective` for the effective compression.
            kind: `accuracy` against compression; `cost` for accuracy against cost at one compression;
                `ranks` of a board with the ranks that the data allow; over all settings `profiles` (Agarwal
                et al. 2021, arXiv 2108.13264) or `critical differences` of ranks (Demsar 2006, JMLR 7), which
                need six settings.
            budget: Of accuracy against compression, draw only points that cost at most so many dense
                trainings.
            at: The compression of accuracy against cost; by default the one in the middle.

        Raises:
            UnknownNameError: No board has that heading, or no costs at that compression.
            UsageError: There is no board, or nothing to draw, or no such kind or axis.
        """
        from synflow_bench.site import (
            AXES,
            accuracy_figure,
            cost_figure,
            difference_figure,
            profile_figure,
            rank_figure,
        )

        over_settings = {"profiles": profile_figure, "critical differences": difference_figure}
        kinds = ["accuracy", "cost", "ranks", *over_settings]
        if kind not in kinds:
            raise UsageError(f"unknown kind of chart {kind!r}; use one of {', '.join(kinds)}")
        if axis not in list(AXES):
            raise UsageError(f"unknown axis {axis!r}; use one of {', '.join(AXES)}")
        if kind != "accuracy" and axis != "compression":
            raise UsageError(f"a chart of {kind} has no axis {axis!r}; leave it out")
        if kind != "accuracy" and budget is not None:
            raise UsageError(f"a chart of {kind} has no budget; leave out budget {budget:g}")
        if kind != "cost" and at is not None:
            raise UsageError(f"a chart of {kind} is not at one compression; leave out at {at:g}")
        if not self.boards:
            raise UsageError("there are no boards to draw; run some cells first")
        if kind in over_settings:
            if heading is not None:
                raise UsageError(f"a chart of {kind} is over all boards; leave out the heading {heading!r}")
            return over_settings[kind](self)
        board = self._board(heading)
        if kind == "ranks":
            return rank_figure(self, board)
        if kind == "cost":
            return cost_figure(self, [board], at)
        return accuracy_figure(self, axis, [board], budget)

    def _board(self, heading: str | None) -> Board:
        """Return the board with this heading, title or id, by default the first."""
        if heading is None:
            return self.boards[0]
        if not isinstance(heading, str):
            raise UsageError(f"heading={heading!r} is not text; use the heading, title or id of a board")
        names = {
            name: board for board in reversed(self.boards) for name in (board.id, board.title, board.heading)
        }
        if heading not in names:
            raise UnknownNameError("board", heading, [board.heading for board in self.boards])
        return names[heading]

    def __repr__(self) -> str:
        return f"<Leaderboard: {', '.join(board.heading for board in self.boards) or 'no boards'}>"

    def __str__(self) -> str:
        """Return the table that the command line prints, as wide as the terminal or 80 columns."""
        from synflow_bench.leaderboard.terminal import summary

        return summary(self)

    def _repr_html_(self) -> str:
        from synflow_bench.leaderboard.markdown import notebook_html

        return notebook_html(self)
