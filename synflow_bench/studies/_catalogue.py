"""The studies by name, what each takes, and what it does when nobody says. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synflow_bench.errors import UnknownNameError
from synflow_bench.studies._columns import Columns, check_columns
from synflow_bench.studies._table import Row, read_table

if TYPE_CHECKING:
    from synflow_bench.studies._request import Request


@dataclass(frozen=True)
class Study:
    """One analysis: rows from networks, and a chart of those rows.

    `pruners`, `compressions`, `rounds` and `schedules` are those of a request that names none; an option of
    which a study has none has no effect there, and is refused. `columns` are those of its table.
    """

    name: str
    help: str
    pruners: tuple[str, ...]
    columns: Columns
    compressions: tuple[float, ...] = ()
    rounds: tuple[int, ...] = ()
    schedules: tuple[str, ...] = ()
    trains: bool = False

    def rows(self, request: Request) -> Iterator[Row]:
        """The table, row by row; raises `HandledError` for what cannot be studied."""
        rows: Callable[[Request], Iterator[Row]] = self._module().rows
        return rows(request)

    def read(self, path: Path) -> list[Row]:
        """An earlier table of this study; raises `UsageError` for any other."""
        rows = read_table(path)
        check_columns(self.name, {name: study.columns for name, study in STUDIES.items()}, rows, str(path))
        return rows

    def chart(self, rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
        """The altair chart of `rows`; `lines` are said below its title."""
        return self._module().chart(rows, lines)

    def _module(self) -> Any:
        return import_module(f"synflow_bench.studies.{self.name.replace('-', '_')}")


_DATA_FREE = ("random", "magnitude", "synflow")

STUDIES = {
    study.name: study
    for study in (
        Study(
            "layer-density",
            "The share of every layer that is kept: figure 2 of Tanaka et al. 2020",
            _DATA_FREE,
            Columns(("compression", "index", "size", "kept", "density"), ("layer",)),
            compressions=(10, 100, 1000),
        ),
        Study(
            "unit-conservation",
            "The score into and out of every hidden unit: figure 3",
            ("magnitude", "synflow"),
            Columns(("compression", "score_in", "score_out"), ("layer", "unit", "relative_error")),
            compressions=(1,),
        ),
        Study(
            "layer-conservation",
            "The mean score of every layer against its size: figure 4",
            _DATA_FREE,
            Columns(
                ("compression", "size", "score_sum", "mean_score"),
                ("index", "layer", "total_flow", "relative_error"),
            ),
            compressions=(1,),
        ),
        Study(
            "imp-conservation",
            "The mean score of every layer through a training: figure 5b",
            ("magnitude",),
            Columns(("epoch", "size", "mean_square"), ("test_top1", "layer", "mean_score")),
            trains=True,
        ),
        Study(
            "cut-ratio",
            "The score that a round removes over the total flow: figure 7",
            ("synflow",),
            Columns(("rounds", "compression", "rounds_with_flow"), ("cut_ratio",)),
            compressions=(10, 100, 1000),
            rounds=(1, 10, 100),
            schedules=("linear", "exponential"),
        ),
    )
}


def find_study(name: str) -> Study:
    """The study of this name; raises `UnknownNameError`."""
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    return STUDIES[name]
