"""Which columns the table of a study has, and whether a table that was read has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from synflow_bench.errors import UsageError
from synflow_bench.studies._table import Row

_OF_ALL = ("dataset", "model", "seed", "pruner", "rounds", "schedule")
_TEXTS = frozenset({"dataset", "model", "pruner", "schedule", "layer"})


@dataclass(frozen=True)
class Columns:
    """The columns of a study beside those that all have; `drawn` have a number in every row."""

    drawn: tuple[str, ...]
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys((*_OF_ALL, *self.drawn, *self.others)))

    def missing(self, row: Row) -> list[str]:
        """Those that `row` lacks."""
        return [name for name in self.names if name not in row]

    def fault(self, row: Row) -> str | None:
        """What is wrong with a value of `row`, which lacks no column."""
        for name in self.names:
            value = row[name]
            if name not in _TEXTS and not (_is_number(value) or (value is None and name not in self.drawn)):
                return f"{name} is {value!r}, not a number"
        if "size" in self.names and row["size"] <= 0:
            return f"size is {row['size']!r}, and no layer is without weights"
        return None


def check_columns(study: str, tables: Mapping[str, Columns], rows: Sequence[Row], where: str) -> None:
    """Raise `UsageError` where `rows`, read from `where`, are no table of `study`, one of `tables`."""
    columns = tables[study]
    for number, row in enumerate(rows, start=1):
        if missing := columns.missing(row):
            others = [f"one of {name}" for name, other in tables.items() if not other.missing(row)]
            mend = (
                f"it is {' or '.join(others)}" if others else f"make one with `synflow-bench study {study}`"
            )
            lacks = f"row {number} lacks {', '.join(missing)}"
            raise UsageError(f"{where!r} is no table of {study}: {lacks}; {mend}")
        if fault := columns.fault(row):
            raise UsageError(
                f"{where!r} is no table of {study}: in row {number}, {fault}; mend or leave it out"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
