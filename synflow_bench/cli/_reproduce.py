"""The rows and the chart of a published figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from synflow_bench.charts import titled
from synflow_bench.cli._forecast import forecast
from synflow_bench.cli._running import run
from synflow_bench.cli._study import request_of
from synflow_bench.errors import DataMissingError, RecordError
from synflow_bench.execution import Plan, Resources, cells_of, make_plan, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.records import Record, Store
from synflow_bench.studies import Figure, Row, Scale, find_study
from synflow_bench.studies._accuracy import accuracy_rows, comparison, critical, critical_rows
from synflow_bench.studies._published import CITATION, published_densities
from synflow_bench.suites import Suite, override

_NOTHING: Mapping[str, Any] = {
    "input_shape": None,
    "classes": None,
    "compressions": (),
    "rounds": (),
    "schedules": (),
    "pruners": (),
    "seeds": (),
    "suite": "quick",
    "epochs": None,
    "assignments": (),
}


@dataclass(frozen=True)
class Drawn:
    """What a figure came to; `chart` draws it."""

    rows: list[Row]
    chart: Callable[[], Any]
    exit_code: int = 0


def from_study(
    figure: Figure, scale: Scale, host: Host, *, threads: int, device: str, data: Path, **_: Any
) -> Drawn:
    """A figure whose networks are only looked at; raises `DataMissingError` where data are not there."""
    study = find_study(str(figure.study))
    options = {**_NOTHING, **figure.options[scale], "threads": threads, "device": device, "data": data}
    request = request_of(study, host, **options)
    rows = list(study.rows(request))
    lines = _lines(figure, scale)
    if figure.study == "layer-density" and scale == "paper":
        beside = {**options, "datasets": ("cifar100",), "models": ("lottery/vgg16-bn",)}
        beside |= {"compressions": (10, 100, 1000), "pruners": study.pruners}
        rows += [*study.rows(request_of(study, host, **beside)), *published_densities()]
        lines += CITATION[:1]
    return Drawn(rows, lambda: study.chart(rows, lines))


def from_records(
    figure: Figure,
    scale: Scale,
    host: Host,
    *,
    results: Path,
    data: Path,
    executor: str,
    workers: int | None,
    threads: int,
    device: str,
    dry_run: bool,
) -> Drawn:
    """A figure of accuracies: the cells of its suite, run where they are not recorded."""
    suite = _suite(figure, scale, host)
    plan, store = _plan(suite, host, results, data)
    resources = Resources(data, device, workers or 0, threads, host.files)
    factory = host.executors.get(executor)
    if dry_run:
        forecast(plan, store, factory, resources).show(as_json=False)
        return Drawn([], lambda: None)
    code = run(plan, store, host, factory, resources).exit_code if plan.missing else 0
    records = [record for cell in plan.cells if (record := store.get(cell)) and record.metrics]
    if not records:
        raise RecordError(
            f"no cell of {figure.name} is recorded; `synflow-bench results list` says what went wrong"
        )
    return _drawn(figure, scale, records, code)


def _suite(figure: Figure, scale: Scale, host: Host) -> Suite:
    return override(host.suites.get(figure.suites[scale]), **figure.options[scale])


def _plan(suite: Suite, host: Host, results: Path, data: Path) -> tuple[Plan, Store]:
    store = Store(results)
    plan = make_plan(cells_of(suite, resolve_pruners(suite.pruners, host), host), host, store, data)
    for line in plan.unavailable.values():
        if not plan.missing and not plan.recorded:
            raise DataMissingError(line)
        click.echo(f"warning: {line}", err=True)
    return plan, store


def _drawn(figure: Figure, scale: Scale, records: Sequence[Record], code: int) -> Drawn:
    rows = accuracy_rows(records)
    published = any(row["source"] == "published" for row in rows)
    seeds = len({row["seed"] for row in rows if row["source"] == "ours"})
    by_levels = any(row["levels"] for row in rows)
    lines = [
        *_lines(figure, scale),
        f"ours: final-epoch accuracy, mean of {seeds} seeds; dotted: the dense network",
    ]
    lines += CITATION if published else ()
    shown = [{**row, "by_levels": by_levels} for row in rows]
    title = f"{figure.title} ({figure.name} of Tanaka et al. 2020)"

    def chart() -> Any:
        import altair as alt

        drawn = comparison(shown)
        if figure.critical:
            ends = critical(critical_rows(rows, published=published))
            drawn = alt.vconcat(drawn, ends).resolve_scale(color="independent", shape="independent")
        return titled(drawn, title, lines)

    return Drawn(rows, chart, code)


def _lines(figure: Figure, scale: Scale) -> list[str]:
    if scale == "paper":
        return []
    return [f"scale small: the form of {figure.name}, not its networks, data or epochs"]
