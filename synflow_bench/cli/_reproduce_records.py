"""The rows and the chart of a published figure of accuracies, from the records of its suite."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from operator import attrgetter
from textwrap import wrap
from typing import Any

import click

from synflow_bench.charts import titled
from synflow_bench.cli._forecast import Forecast, forecast
from synflow_bench.cli._reproduce import Drawn, Where, scale_lines
from synflow_bench.cli._running import run
from synflow_bench.errors import DataMissingError, RecordError
from synflow_bench.execution import Plan, cells_of, make_plan, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.records import Record, Store, key_of
from synflow_bench.studies import Figure, Row, Scale
from synflow_bench.studies._accuracy import accuracy_rows, comparison
from synflow_bench.studies._critical import critical, critical_lines, critical_rows
from synflow_bench.studies._published import CITATION, misnamed
from synflow_bench.suites import DENSE, Suite, override

_LINE = 110
"""Letters of a line below a title."""

_FIXED = "\N{NO-BREAK SPACE}"


def foresee(figure: Figure, scale: Scale, host: Host, where: Where) -> Forecast:
    """What `from_records` would run, and how long it would take."""
    plan, store = _plan(_suite(figure, scale, host), host, where)
    return forecast(plan, store, host.executors.get(where.executor), where.resources(host))


def from_records(figure: Figure, scale: Scale, host: Host, where: Where) -> Drawn:
    """A figure of accuracies: the cells of its suite, run where they are not recorded.

    The exit code is 0 where all of them are drawn. Raises `RecordError` where no pruned one is.
    """
    plan, store = _plan(_suite(figure, scale, host), host, where)
    factory = host.executors.get(where.executor)
    code = run(plan, store, host, factory, where.resources(host)).exit_code if plan.missing else 0
    records = _recorded(plan, store)
    if all(record.cell.pruner.name == DENSE for record in records):
        raise RecordError(
            f"no pruned cell of {figure.name} is recorded; `synflow-bench results list` says what went wrong"
        )
    absent = _absent(plan, records)
    for line in absent:
        click.echo(f"warning: {line}", err=True)
    return _drawn(figure, scale, records, absent, code or int(bool(absent)))


def _recorded(plan: Plan, store: Store) -> list[Record]:
    skipped = {key_of(cell) for cell in plan.skipped}
    found = [store.get(cell) for cell in plan.cells if key_of(cell) not in skipped]
    return [record for record in found if record and record.metrics]


def _absent(plan: Plan, records: Sequence[Record]) -> list[str]:
    """Lines that say which cells of `plan` have no record, and of which settings all."""
    title = attrgetter("setting.title")
    planned, drawn = Counter(map(title, plan.cells)), Counter(title(record.cell) for record in records)
    parts = [
        (f"{count - drawn[name]} of {count} cells of {name}" if drawn[name] else name).replace(" ", _FIXED)
        for name, count in planned.items()
        if drawn[name] < count
    ]
    lines = wrap(f"not drawn: {', '.join(parts)}", _LINE, break_on_hyphens=False) if parts else []
    return [line.replace(_FIXED, " ") for line in lines]


def _suite(figure: Figure, scale: Scale, host: Host) -> Suite:
    return override(host.suites.get(figure.suites[scale]), **figure.options[scale])


def _plan(suite: Suite, host: Host, where: Where) -> tuple[Plan, Store]:
    store = Store(where.results)
    plan = make_plan(cells_of(suite, resolve_pruners(suite.pruners, host), host), host, store, where.data)
    wanted = {cell.setting.dataset for cell in plan.skipped}
    for line in (line for name, line in plan.unavailable.items() if name in wanted):
        if not plan.missing and not plan.recorded:
            raise DataMissingError(line)
        click.echo(f"warning: {line}", err=True)
    return plan, store


def _drawn(
    figure: Figure, scale: Scale, records: Sequence[Record], absent: Sequence[str], code: int
) -> Drawn:
    rows = accuracy_rows(records)
    lines = [*scale_lines(figure, scale), *_accuracy_lines(figure, rows), *absent]
    by_levels = any(row["levels"] for row in rows)
    shown = [{**row, "by_levels": by_levels} for row in rows]
    title = f"{figure.title} ({figure.name} of Tanaka et al. 2020)"

    def chart() -> Any:
        import altair as alt

        drawn = comparison(shown)
        if figure.critical:
            ends = critical(critical_rows(rows, published=_published(rows)))
            drawn = alt.vconcat(drawn, ends).resolve_scale(color="independent", shape="independent")
        return titled(drawn, title, lines)

    return Drawn(rows, chart, code)


def _accuracy_lines(figure: Figure, rows: Sequence[Row]) -> list[str]:
    """What must be said of accuracies: whose they are, of how many runs, and which are left out."""
    published, ours = _published(rows), [row for row in rows if row["source"] == "ours"]
    seeds = len({row["seed"] for row in ours})
    settings = dict.fromkeys((row["dataset"], row["model"]) for row in ours)
    return [
        f"ours: final-epoch accuracy, mean of {seeds} seed{'s' * (seeds != 1)}; dotted: the dense network",
        *(CITATION if published else ()),
        *dict.fromkeys(line for setting in settings if (line := misnamed(*setting))),
        *(critical_lines(rows, published=published) if figure.critical else ()),
    ]


def _published(rows: Sequence[Row]) -> bool:
    return any(row["source"] == "published" for row in rows)
