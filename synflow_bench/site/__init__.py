"""The leaderboard as pages that work from files, without a network; only charts need JavaScript."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from synflow_bench.leaderboard import Leaderboard
from synflow_bench.records import Record, Result
from synflow_bench.site.charts import AXES, accuracy_figure
from synflow_bench.site.cost_charts import cost_figure
from synflow_bench.site.folder import check_folder, write_folder
from synflow_bench.site.pages import Methods, board_page, claims_page, site_files
from synflow_bench.site.rank_charts import difference_figure, profile_figure, rank_figure

__all__ = [
    "AXES",
    "accuracy_figure",
    "board_page",
    "check_folder",
    "claims_page",
    "cost_figure",
    "difference_figure",
    "profile_figure",
    "rank_figure",
    "write_site",
]


def write_site(
    output: Path,
    leaderboard: Leaderboard,
    results: Sequence[Result],
    records: Iterable[Record],
    *,
    methods: Methods | None = None,
    force: bool = False,
) -> int:
    """Write the site of a leaderboard to a folder, completely or not at all.

    Args:
        output: The folder; it must be new or empty, or hold a site.
        leaderboard: The leaderboard.
        results: The results from which it was built.
        records: The same records in full; an iterator keeps only one in memory.
        methods: The descriptions of the pruners by name; those that are not on a board are left out.
        force: Replace an existing site.

    Returns:
        The number of files.

    Raises:
        UsageError: `output` cannot be used, as in `check_folder`.
        RecordError: The folder cannot be written.
    """
    check_folder(output, force)
    return write_folder(output, site_files(leaderboard, results, records, methods))
