"""The leaderboard that a command line asks for, as a table, a file, a site or a chart."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from synflow_bench.cli.output import none_left
from synflow_bench.errors import UsageError
from synflow_bench.leaderboard import (
    FORMATS,
    MARGIN,
    ClaimChecks,
    Leaderboard,
    build_leaderboard,
    check_claims,
    choose,
    choose_numbers,
    column_headings,
    no_records,
    published_numbers,
    read_leaderboard,
    render,
    render_claims,
)
from synflow_bench.records import Result, Store, read_record
from synflow_bench.suites import Tuning

AXES = ("compression", "effective")
CHARTS = ("accuracy", "cost", "ranks", "profiles", "critical-differences")
MARGIN_POINTS = 100 * MARGIN
"""The default margin of equivalence in percentage points."""


@dataclass(frozen=True)
class LeaderboardRequest:
    """The leaderboard that a command line asks for; `margin` is in percentage points."""

    results: Path
    form: str = "table"
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    pruners: tuple[str, ...] = ()
    baseline: str | None = None
    margin: float = MARGIN_POINTS
    columns: tuple[str, ...] = ()
    published: bool = False
    per_seed: bool = False
    claims: bool = False
    tuning: Tuning | None = None
    measure: Callable[[Leaderboard], Leaderboard] = lambda leaderboard: leaderboard
    """Adds measured sizes and speeds."""

    unreadable: list[str] = field(default_factory=list)
    """One line for each record that could not be read."""

    @cached_property
    def found(self) -> list[Result]:
        """All valid results of the folder; a site needs the whole records."""
        found = Store(self.results).results(self.unreadable, in_full=self.form == "html")
        if not found and self.unreadable:
            lines = [*self.unreadable]
            self.unreadable.clear()
            raise none_left(lines)
        return found

    def leaderboard(self) -> Leaderboard:
        """Build the boards from all results of the folder."""
        leaderboard = read_leaderboard(
            self.results,
            **self._choice(),
            baseline=self.baseline,
            margin=self.margin / 100,
            published=self.published,
            tuning=self.tuning,
            found=self.found,
        )
        columns = column_headings(leaderboard, self.columns)
        return self.measure(replace(leaderboard, columns=columns))

    def claim_checks(self) -> ClaimChecks:
        """Compare the chosen published numbers with all boards of the folder."""
        numbers = choose_numbers(published_numbers(), **self._choice())
        boards = build_leaderboard(self.found, margin=self.margin / 100)
        return check_claims(boards, numbers, margin=self.margin / 100)

    def content(self) -> bytes:
        """Return the content of the file."""
        if self.claims:
            return render_claims(self.claim_checks(), self.form).encode()
        if not FORMATS[self.form].of_records:
            return render(self.leaderboard(), self.form, per_seed=self.per_seed).encode()
        records = choose(Store(self.results).read_all(self.unreadable), **self._choice())
        if not records:
            raise no_records(self.results)
        content: bytes = FORMATS[self.form].load()(records)
        return content

    def site(self, output: Path, *, force: bool) -> int:
        """Write the site to the folder `output` and return the number of its files."""
        from synflow_bench.host import Host, description_of
        from synflow_bench.site import check_folder, write_site

        check_folder(output, force)
        store = Store(self.results)
        leaderboard = self.leaderboard()
        results = choose(self.found, **self._choice()) if self.found else []
        keys = {result.key for result in results}
        records = (read_record(path) for path in store.paths([]) if path.stem in keys)
        # A plugin that cannot be used takes nothing from boards of records but its description.
        pruners = Host.load(report=lambda _: None).pruners
        methods = {entry.name: description_of(entry) for entry in pruners.entries()}
        return write_site(output, leaderboard, results, records, methods=methods, force=force)

    def chart(self, file: Path, kind: str, axis: str, budget: float | None, at: float | None) -> bytes:
        """Return one of `CHARTS`, as the suffix of `file` says; accuracies of every board."""
        from synflow_bench.charts import chart_bytes, check_chart_path
        from synflow_bench.site import accuracy_figure, cost_figure

        check_chart_path(file)
        leaderboard = self.leaderboard()
        if kind == "ranks" and len(leaderboard.boards) > 1:
            board = leaderboard.boards[0]
            titles = {each.title for each in leaderboard.boards}
            way_out = (
                "choose one with --dataset and --model"
                if len(titles) > 1
                else f"choose one from Python, with leaderboard.chart({board.id!r}, kind='ranks')"
            )
            raise UsageError(
                f"a chart of ranks is of one board, and there are {len(leaderboard.boards)}; {way_out}"
            )
        if kind == "accuracy" and at is None:
            return chart_bytes(accuracy_figure(leaderboard, axis, budget=budget), file)
        if kind == "cost" and budget is None and axis == AXES[0]:
            return chart_bytes(cost_figure(leaderboard, at=at), file)
        chart = leaderboard.chart(kind=kind.replace("-", " "), axis=axis, budget=budget, at=at)
        return chart_bytes(chart, file)

    def command(self, output: Path) -> str:
        """Return the command line that writes this leaderboard to `output`."""
        words = ["synflow-bench", "leaderboard", "--results", str(self.results), "--format", self.form]
        words += [
            word
            for kind, names in self._choice().items()
            for name in names
            for word in (f"--{kind[:-1]}", name)
        ]
        words += ["--baseline", self.baseline] if self.baseline else []
        words += ["--margin", f"{self.margin:g}"] if self.margin != MARGIN_POINTS else []
        words += ["--columns", ",".join(self.columns)] if self.columns else []
        words += ["--tune", self.tuning.text] if self.tuning else []
        words += (
            ["--published"] * self.published + ["--per-seed"] * self.per_seed + ["--claims"] * self.claims
        )
        return shlex.join([*words, "--output", str(output), "--force"])

    def _choice(self) -> dict[str, tuple[str, ...]]:
        return {"datasets": self.datasets, "models": self.models, "pruners": self.pruners}
