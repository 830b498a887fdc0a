"""What a `leaderboard` command was asked for, and how it is made."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from synflow_bench.errors import RecordError
from synflow_bench.leaderboard import (
    RECORD_FORMATS,
    Leaderboard,
    PublishedTable,
    build_leaderboard,
    choose,
    parquet,
    published_tables,
    render,
)
from synflow_bench.records import Result, Store, read_record


@dataclass(frozen=True)
class Choice:
    """Which records a leaderboard is made of."""

    datasets: Sequence[str] = ()
    models: Sequence[str] = ()
    pruners: Sequence[str] = ()

    def words(self) -> list[str]:
        """The choice as options of the command line."""
        repeated = {"--dataset": self.datasets, "--model": self.models, "--pruner": self.pruners}
        return [word for option, names in repeated.items() for name in names for word in (option, name)]

    def has(self, table: PublishedTable) -> bool:
        """Whether a published table is of a chosen data set and network."""
        of_dataset = not self.datasets or table.dataset in self.datasets
        return of_dataset and (not self.models or table.model in self.models)


@dataclass(frozen=True)
class Request:
    """A leaderboard that was asked for."""

    results: Path
    form: str
    choice: Choice = field(default_factory=Choice)
    baseline: str | None = None
    published: bool = False

    def content(self) -> bytes:
        """The file."""
        if self.form in RECORD_FORMATS:
            records = list(Store(self.results))
            return parquet(choose(records, **vars(self.choice)) if records else self._nothing())
        return render(self.page(), self.form).encode()

    def page(self) -> Leaderboard:
        """The boards; an empty results folder is a `RecordError`, unless published tables were asked for."""
        return self._built()[0]

    def site(self, output: Path, *, force: bool) -> int:
        """Write the boards and a page a record to the folder `output`; gives the number of files."""
        from synflow_bench.leaderboard.site import check_folder, write_site

        check_folder(output, force)
        page, results = self._built()
        keys = {result.key for result in results}
        records = (read_record(path) for path in Store(self.results).paths() if path.stem in keys)
        return write_site(output, page, results, records, force=force)

    def chart(self, file: Path, axis: str) -> bytes:
        """The boards drawn as the suffix of `file` says, against `axis`."""
        from synflow_bench.charts import chart_bytes, check_chart_path
        from synflow_bench.leaderboard.site import accuracy_figure

        check_chart_path(file)
        return chart_bytes(accuracy_figure(self.page(), axis), file)

    def _built(self) -> tuple[Leaderboard, list[Result]]:
        tables = [table for table in published_tables() if self.choice.has(table)] if self.published else []
        with _no_collection():
            results = Store(self.results).results()
            if not results:
                return Leaderboard((), None, tuple(tables) or self._nothing()), []
            chosen = choose(results, **vars(self.choice))
            page = build_leaderboard(chosen, baseline=self.baseline, published=tables)
        matching = [table for board in page.boards for table in page.published_for(board)]
        return replace(page, published=tuple(dict.fromkeys(matching))), chosen

    def _nothing(self) -> NoReturn:
        raise RecordError(
            f"no records in {str(self.results)!r}; make some with `synflow-bench run --all`, "
            "or name their folder with --results"
        )

    def command(self, output: Path) -> str:
        """The command line that writes this leaderboard to `output`."""
        words = ["synflow-bench", "leaderboard", "--results", str(self.results), "--format", self.form]
        words += self.choice.words()
        words += ["--baseline", self.baseline] if self.baseline else []
        words += ["--published"] if self.published else []
        return shlex.join([*words, "--output", str(output), "--force"])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the cyclic collector: it would walk all results again and again, a third of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
