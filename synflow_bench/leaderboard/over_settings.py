"""Rows over several settings: ranks with their tests, aggregates over runs, and performance profiles.

Demsar 2006, Statistical comparisons of classifiers over multiple data sets, JMLR 7; Agarwal et al. 2021, Deep
reinforcement learning at the edge of the statistical precipice, arXiv 2108.13264.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from synflow_bench.leaderboard.board import Board, Interval, OverallRanking, OverallRow, RankTest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

RESAMPLES = 2000
PERMUTATIONS = 10_000
SEED = 20260
ERROR = 0.05
TESTED_SETTINGS = 6
"""The fewest settings with which a two-sided test of signs can reach 5 %: 2 / 2^6 is 0.03, 2 / 2^5 is
0.06."""
THRESHOLDS = tuple(step / 100 for step in range(101))
"""The areas under the curve at which performance profiles are taken."""


def overall_ranking(boards: Sequence[Board]) -> OverallRanking | None:
    """Return the ranks over all boards that are not preliminary, of the rows that all of them rank.

    None if something is missing, which `overall_ranking_lacks` describes.
    """
    if overall_ranking_lacks(boards):
        return None
    ranked, common, left_out = _ranked(boards)
    tables = [_auc_table(board, common) for board in ranked]
    means, (lows, highs) = mean_ranks(tables), bootstrap(tables)
    order = sorted(range(len(common)), key=lambda row: (means[row], common[row]))
    quartile_means = interquartile_means(tables)
    beaten = improvement(tables, order[0])
    rows = tuple(
        OverallRow(
            label=common[row],
            mean=float(means[row]),
            low=float(lows[row]),
            high=float(highs[row]),
            interquartile_mean=quartile_means[row],
            first_improves=None if row == order[0] else beaten[row],
            profile=profile(_runs(tables, row)),
        )
        for row in order
    )
    enough = len(tables) >= TESTED_SETTINGS
    return OverallRanking(
        settings=tuple(board.heading for board in ranked),
        ranks=rows,
        left_out=tuple(left_out),
        test=_rank_test(tables, rows) if enough else None,
        untested=""
        if enough
        else f"fewer than {TESTED_SETTINGS} settings ({len(tables)}), with which no test of ranks can reach "
        f"{100 * ERROR:.0f} %",
    )


def profile(runs: Matrix) -> tuple[float, ...]:
    """Return the share of the runs whose area under the curve is above each of `THRESHOLDS`."""
    import numpy as np

    return tuple((runs[:, None] > np.array(THRESHOLDS)).mean(axis=0).tolist())


def _rank_test(tables: Sequence[Matrix], rows: Sequence[OverallRow]) -> RankTest:
    difference = critical_difference(len(rows), len(tables))
    return RankTest(
        friedman_p=friedman(tables), critical_difference=difference, groups=groups(rows, difference)
    )


def friedman(tables: Sequence[Matrix]) -> float:
    """Return the probability that ranks differ as much where all rows are equal (Friedman 1937).

    Permutes the ranks within settings, which is right for few settings too, where the chi-squared and F
    approximations are not.
    """
    import numpy as np

    ranks = np.array([_ranks(table.mean(axis=1)[:, None])[:, 0] for table in tables])
    draw = np.random.RandomState(SEED)
    found = float((ranks.mean(axis=0) ** 2).sum())
    total = np.zeros((PERMUTATIONS, ranks.shape[1]))
    for of_setting in ranks:
        total += of_setting[draw.random_sample((PERMUTATIONS, len(of_setting))).argsort(axis=1)]
    drawn = ((total / len(ranks)) ** 2).sum(axis=1)
    return float((1 + (drawn >= found - 1e-9).sum()) / (1 + PERMUTATIONS))


def critical_difference(rows: int, settings: int, error: float = ERROR) -> float:
    """Return the difference of mean ranks that separates two rows by Nemenyi's test (Demsar 2006, equation
    6)."""
    quantile = _studentized_range(rows, error) / math.sqrt(2)
    return quantile * math.sqrt(rows * (rows + 1) / (6 * settings))


def _studentized_range(rows: int, error: float) -> float:
    """Return the quantile of the range of `rows` standard normal variables, by bisection of its integral."""
    import numpy as np

    grid = np.linspace(-8, 8, 1601)
    density = np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi)

    def below(values: Matrix) -> Matrix:
        found: Matrix = np.array([math.erf(value / math.sqrt(2)) for value in values]) / 2 + 0.5
        return found

    cumulative, low, high = below(grid), 0.0, 20.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        inside = (cumulative - below(grid - middle)) ** (rows - 1)
        mass = rows * float((density * inside).sum()) * (grid[1] - grid[0])
        low, high = (middle, high) if mass < 1 - error else (low, middle)
    return low


def groups(rows: Sequence[OverallRow], difference: float) -> tuple[tuple[str, ...], ...]:
    """Return the largest groups of neighboring rows whose mean ranks differ by no more than `difference`.

    These are the bars of a diagram of critical differences; `rows` are ordered by mean rank.
    """
    found: list[tuple[int, int]] = []
    for first in range(len(rows)):
        last = max(k for k in range(len(rows)) if rows[k].mean <= rows[first].mean + difference)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return tuple(tuple(row.label for row in rows[first : last + 1]) for first, last in found)


def interquartile_means(tables: Sequence[Matrix]) -> list[Interval]:
    """Return the mean of the middle half of all runs of each row, with a bootstrap over seeds within
    settings."""
    import numpy as np

    rows = tables[0].shape[0]
    draw = np.random.RandomState(SEED)
    drawn = [draw.randint(table.shape[1], size=(RESAMPLES, table.shape[1])) for table in tables]
    found = []
    for row in range(rows):
        resampled = np.concatenate(
            [table[row][seeds] for table, seeds in zip(tables, drawn, strict=True)], axis=1
        )
        low, high = np.percentile(_middle_half(resampled), [2.5, 97.5])
        value = float(_middle_half(_runs(tables, row)[None])[0])
        found.append(Interval(value, float(low), float(high)))
    return found


def _middle_half(runs: Matrix) -> Matrix:
    """Return the mean of the middle half of the last axis, without a quarter of the runs at each end."""
    import numpy as np

    ordered, cut = np.sort(runs, axis=-1), runs.shape[-1] // 4
    means: Matrix = ordered[..., cut : runs.shape[-1] - cut].mean(axis=-1)
    return means


def _runs(tables: Sequence[Matrix], row: int) -> Matrix:
    import numpy as np

    return np.concatenate([table[row] for table in tables])


def improvement(tables: Sequence[Matrix], first: int) -> list[Interval]:
    """Return the probability that a run of the row `first` is better than one of each row, mean over
    settings.

    Equal runs count half. The interval is a bootstrap over seeds within settings, of both rows on their own.
    """
    import numpy as np

    draw = np.random.RandomState(SEED)
    total = np.zeros(tables[0].shape[0])
    resampled = np.zeros((tables[0].shape[0], RESAMPLES))
    for table in tables:
        better = (table[first][:, None] > table[:, None]) + 0.5 * (table[first][:, None] == table[:, None])
        total += better.mean(axis=(1, 2))
        seeds = table.shape[1]
        one, other = (
            (draw.randint(seeds, size=(RESAMPLES, seeds, 1)) == np.arange(seeds)).sum(axis=1)
            for _ in range(2)
        )
        resampled += np.einsum("bi,rij,bj->rb", one, better, other, optimize=True) / seeds**2
    lows, highs = np.percentile(resampled / len(tables), [2.5, 97.5], axis=1)
    means = total / len(tables)
    return [Interval(*map(float, ends)) for ends in zip(means, lows, highs, strict=True)]


def overall_ranking_lacks(boards: Sequence[Board]) -> str | None:
    """Describe what is missing for ranks over settings; None where nothing is."""
    ranked, common, _ = _ranked(boards)
    if len(ranked) < 2:
        return f"two settings with ranks, and there is {len(ranked) or 'none'}"
    if len(common) < 2:
        return f"two rows with ranks in every setting, and there is {len(common) or 'none'}"
    for board in ranked:
        if not _common_seeds(board, common):
            return f"a seed that all its rows have in common, which {board.heading} lacks"
    return None


def _ranked(boards: Sequence[Board]) -> tuple[list[Board], list[str], list[str]]:
    """Return the boards with ranks, the labels that all of them rank, and those that only some do."""
    labels = {board.id: {row.label for row in board.rows if row.rank} for board in boards}
    ranked = [board for board in boards if labels[board.id]]
    common = set[str].intersection(*(labels[board.id] for board in ranked)) if ranked else set()
    return ranked, sorted(common), sorted(set[str]().union(*labels.values()) - common)


def _aucs(board: Board, labels: Sequence[str]) -> list[dict[int, float]]:
    return [next(row.aucs for row in board.rows if row.label == label) for label in labels]


def _common_seeds(board: Board, labels: Sequence[str]) -> list[int]:
    return sorted(set[int].intersection(*(set(aucs) for aucs in _aucs(board, labels))))


def _auc_table(board: Board, labels: Sequence[str]) -> Matrix:
    """Return the AUCs of the rows over the seeds that all of them have, of shape (rows, seeds)."""
    import numpy as np

    seeds = _common_seeds(board, labels)
    return np.array([[aucs[seed] for seed in seeds] for aucs in _aucs(board, labels)], dtype=np.float64)


def mean_ranks(tables: Sequence[Matrix]) -> Matrix:
    """Return each row's rank by mean AUC, averaged over tables of shape (rows, seeds).

    Equal AUCs share their ranks.
    """
    import numpy as np

    ranks = np.array([_ranks(table.mean(axis=1)[:, None])[:, 0] for table in tables])
    means: Matrix = ranks.mean(axis=0)
    return means


def bootstrap(tables: Sequence[Matrix], resamples: int = RESAMPLES) -> tuple[Matrix, Matrix]:
    """Return the 2.5 % and 97.5 % percentiles of `mean_ranks` over resampled settings and seeds within them.

    All rows keep the same settings and seeds in a resample, so that the comparison stays paired.
    """
    import numpy as np

    # The stream of RandomState is frozen; that of default_rng may change, and committed boards are compared.
    draw = np.random.RandomState(SEED)
    chosen = draw.randint(len(tables), size=(resamples, len(tables)))
    total = np.zeros((tables[0].shape[0], resamples))
    for index, table in enumerate(tables):
        containing, _ = np.nonzero(chosen == index)
        seeds = draw.randint(table.shape[1], size=(len(containing), table.shape[1]))
        ranks = _ranks(table[:, seeds].mean(axis=2))
        for row, total_of_row in zip(ranks, total, strict=True):
            total_of_row += np.bincount(containing, weights=row, minlength=resamples)
    low, high = np.percentile(total / len(tables), [2.5, 97.5], axis=1)
    return low, high


def _ranks(aucs: Matrix) -> Matrix:
    """Return the ranks in each column of (rows, samples), 1 for the largest; equal AUCs share their mean."""
    import numpy as np

    larger = np.zeros(aucs.shape)
    for row in aucs:
        larger += (row > aucs) + 0.5 * (row == aucs)
    # Each row equals itself, which counted as half a rank.
    return larger + 0.5
