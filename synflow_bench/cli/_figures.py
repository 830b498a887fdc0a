"""The files of a study or a figure: a table and a chart, both whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synflow_bench.charts import chart_bytes, check_chart_path
from synflow_bench.errors import UsageError
from synflow_bench.records import write_atomically
from synflow_bench.studies import Row, check_table_path, table_bytes


@dataclass(frozen=True)
class Files:
    """Where a table and a chart go; None where nobody asked."""

    table: Path | None
    chart: Path | None
    force: bool

    @property
    def named(self) -> list[Path]:
        """The files that are asked for."""
        return [path for path in (self.table, self.chart) if path]

    def check(self) -> None:
        """Refuse, before any work, what cannot be written; raises `UsageError`."""
        if self.table:
            check_table_path(self.table)
        if self.chart:
            check_chart_path(self.chart)
        if self.force and not self.named:
            raise UsageError("--force has no effect without --output or --chart; leave it out")
        for path in self.named:
            if path.exists() and not self.force:
                raise UsageError(f"{str(path)!r} exists; add --force to write over it")
            if not path.parent.is_dir():
                raise UsageError(f"no folder {str(path.parent)!r} for {path.name!r}; make it first")

    def write(self, rows: Sequence[Row], chart: Callable[[], Any]) -> None:
        """Make all contents, then write the files."""
        contents: list[tuple[Path, bytes]] = []
        if self.table:
            contents.append((self.table, table_bytes(rows, self.table)))
        if self.chart:
            contents.append((self.chart, chart_bytes(chart(), self.chart)))
        for path, content in contents:
            write_atomically(path, content)
