"""Make a figure of the paper: run what it needs, and give its rows and its chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from textwrap import wrap
from typing import Any

from synflow_bench.charts import titled
from synflow_bench.cli import say
from synflow_bench.cli.forecast import Forecast, forecast
from synflow_bench.errors import DataMissingError, RecordError
from synflow_bench.execution import Plan, Resources, cells_of, make_plan, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.progress import run_with_progress
from synflow_bench.records import Record, Store, key_of
from synflow_bench.suites import DENSE, override
from synflow_bench_studies.accuracy import (
    CITATION,
    accuracy_chart,
    accuracy_lines,
    accuracy_rows,
    critical_chart,
    critical_lines,
    critical_rows,
    has_published,
)
from synflow_bench_studies.catalogue import Figure, Scale, find_study
from synflow_bench_studies.layer_density import PUBLISHED, published_densities
from synflow_bench_studies.request import Options
from synflow_bench_studies.table import Row

_LINE = 110
"""Characters in a line below a title."""

_FIXED = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Place:
    """The options on where cells run, and on the folders of records and data."""

    results: Path
    data: Path
    executor: str
    workers: int | None
    threads: int
    device: str

    def resources(self, host: Host) -> Resources:
        """Return the resources of an executor."""
        return Resources(self.data, self.device, self.workers or 0, self.threads, host.files)


@dataclass(frozen=True)
class Drawn:
    """A figure: its rows, a function that draws them, and the exit code of the command."""

    rows: list[Row]
    chart: Callable[[], Any]
    exit_code: int = 0


def make_figure(figure: Figure, scale: Scale, host: Host, place: Place) -> Drawn:
    """Make a figure from its study, or from the records of its suite after running the missing cells.

    The exit code is 0 where all cells of the suite are drawn.

    Raises:
        DataMissingError: No cell can run, because datasets are missing.
        RecordError: No pruned cell is recorded.
    """
    return (_from_study if figure.study else _from_records)(figure, scale, host, place)


def forecast_figure(figure: Figure, scale: Scale, host: Host, place: Place) -> Forecast:
    """Estimate what `make_figure` would run for a figure of records, and for how long."""
    plan, store = _plan(figure, scale, host, place)
    return forecast(plan, store, host.executors.get(place.executor), place.resources(host))


def figure_chart(figure: Figure, rows: Sequence[Row], lines: Sequence[str]) -> Any:
    """Draw a figure of accuracies, with `lines` below its title."""
    import altair as alt

    drawn = accuracy_chart(rows)
    if figure.critical:
        ends = critical_chart(critical_rows(rows, published=has_published(rows)))
        drawn = alt.vconcat(drawn, ends).resolve_scale(color="independent", shape="independent")
    return titled(drawn, f"{figure.title} ({figure.name} of Tanaka et al. 2020)", lines)


def scale_lines(figure: Figure, scale: Scale) -> list[str]:
    """Describe a figure at another scale than the paper's."""
    if scale == "paper":
        return []
    return [f"scale small: the form of {figure.name}, with other networks, data and epochs than the paper's"]


def _from_study(figure: Figure, scale: Scale, host: Host, place: Place) -> Drawn:
    study = find_study(str(figure.study))
    options = partial(Options, threads=place.threads, device=place.device, data=place.data)
    rows = list(study.rows(options(**figure.options[scale]).request(study, host)))
    lines = scale_lines(figure, scale)
    if study.name == "layer-density" and scale == "paper":
        rows += [*study.rows(options(**PUBLISHED).request(study, host)), *published_densities()]
        lines += CITATION[:1]
    return Drawn(rows, partial(study.chart, rows, lines))


def _from_records(figure: Figure, scale: Scale, host: Host, place: Place) -> Drawn:
    plan, store = _plan(figure, scale, host, place)
    code = 0
    if plan.missing:
        factory = host.executors.get(place.executor)
        code = run_with_progress(plan, store, host, factory, place.resources(host)).exit_code
    records = _recorded(plan, store)
    if all(record.cell.pruner.name == DENSE for record in records):
        raise RecordError(
            f"no pruned cell of {figure.name} is recorded; `synflow-bench results list` shows the errors"
        )
    absent = _absent(plan, records)
    for line in absent:
        _warn(line)
    rows = accuracy_rows(records)
    lines = [*scale_lines(figure, scale), *accuracy_lines(rows)]
    if figure.critical:
        lines += critical_lines(rows, published=has_published(rows))
    return Drawn(rows, partial(figure_chart, figure, rows, [*lines, *absent]), code or int(bool(absent)))


def _plan(figure: Figure, scale: Scale, host: Host, place: Place) -> tuple[Plan, Store]:
    suite = override(host.suites.get(figure.suites[scale]), **figure.options[scale])
    store = Store(place.results)
    plan = make_plan(cells_of(suite, resolve_pruners(suite.pruners, host), host), host, store, place.data)
    wanted = {cell.setting.dataset for cell in plan.skipped}
    for line in (line for name, line in plan.unavailable.items() if name in wanted):
        if not plan.missing and not plan.recorded:
            raise DataMissingError(line)
        _warn(line)
    return plan, store


def _recorded(plan: Plan, store: Store) -> list[Record]:
    skipped = {key_of(cell) for cell in plan.skipped}
    found = [store.get(cell) for cell in plan.cells if key_of(cell) not in skipped]
    return [record for record in found if record and record.metrics]


def _absent(plan: Plan, records: Sequence[Record]) -> list[str]:
    """Lines that name the cells of `plan` without a record, and the settings without any."""
    title = attrgetter("setting.title")
    planned, drawn = Counter(map(title, plan.cells)), Counter(title(record.cell) for record in records)
    parts = [
        (f"{count - drawn[name]} of {count} cells of {name}" if drawn[name] else name).replace(" ", _FIXED)
        for name, count in planned.items()
        if drawn[name] < count
    ]
    lines = wrap(f"not drawn: {', '.join(parts)}", _LINE, break_on_hyphens=False) if parts else []
    return [line.replace(_FIXED, " ") for line in lines]


def _warn(line: str) -> None:
    say(f"warning: {line}")
