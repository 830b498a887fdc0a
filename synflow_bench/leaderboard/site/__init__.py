"""The leaderboard as a folder of pages that work from a file, without a network and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from synflow_bench.leaderboard._board import Leaderboard
from synflow_bench.leaderboard.site._figure import AXES, accuracy_figure
from synflow_bench.leaderboard.site._folder import MARKER, check_folder, write_folder
from synflow_bench.leaderboard.site._pages import site_files
from synflow_bench.records import Record, Result

__all__ = ["AXES", "MARKER", "accuracy_figure", "check_folder", "write_site"]


def write_site(
    output: Path,
    page: Leaderboard,
    results: Sequence[Result],
    records: Iterable[Record],
    *,
    force: bool = False,
) -> int:
    """Write the site of `page` to the folder `output`, whole or not at all; gives the number of files.

    `results` are those that `page` was built from, `records` the same in full, which may be read one by one.
    Raises `UsageError` where `output` holds anything but a site that `force` may write anew, `RecordError`
    where it cannot be written.
    """
    check_folder(output, force)
    return write_folder(output, site_files(page, results, records))
