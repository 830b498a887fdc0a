"""`synflow-bench study NAME`: one analysis of networks under pruning, as a table and a chart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from synflow_bench.charts import CHART_SUFFIXES
from synflow_bench.cli._figures import Files
from synflow_bench.cli._loading import load_host
from synflow_bench.cli._study import request_of
from synflow_bench.cli.options import data_option, refuse
from synflow_bench.cli.plugin_option import plugin_option
from synflow_bench.studies import STUDIES, Row, aligned, find_study

Decorator = Callable[[Any], Any]


class _Shape(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """`3x224x224` or `3,224,224`."""
        parts = str(value).lower().replace(",", "x").split("x")
        if len(parts) == 3 and all(part.strip().isdecimal() and int(part) for part in parts):
            return tuple(int(part) for part in parts)
        message = f"{value!r} is no input shape; write channels x height x width, such as 3x224x224"
        return self.fail(message, param, ctx)


_LISTED = "\n".join(f"  {study.name:20}{study.help}" for study in STUDIES.values())
_HELP = f"Study what pruning does to networks, as a table and a chart.\n\nNAME is one of\n\n\b\n{_LISTED}"


def _many(name: str, field: str, metavar: str, help: str, kind: Any = str) -> Decorator:
    return click.option(name, field, metavar=metavar, type=kind, multiple=True, help=f"{help}; repeatable.")


def _file(name: str, field: str, help: str, *, many: bool = False) -> Decorator:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(name, field, metavar="FILE", type=kind, multiple=many, help=help)


@click.command("study", help=_HELP)
@click.argument("name", metavar="NAME")
@_many("--model", "models", "M", "A network")
@_many("--dataset", "datasets", "D", "A data set; its files are needed to train, and to score with data")
@click.option("--input-shape", metavar="CxHxW", type=_Shape(), help="In place of a data set: 3x224x224.")
@click.option("--classes", metavar="N", type=click.IntRange(min=1), help="With --input-shape; 10 by default.")
@_many("--pruner", "pruners", "P", "A pruner, such as 'synflow[rounds=10]'")
@_many("--compression", "compressions", "C", "Prunable over kept weights", float)
@_many("--rounds", "rounds", "N", "Rounds of scoring and masking", click.IntRange(min=1))
@_many("--schedule", "schedules", "S", "linear or exponential", click.Choice(["linear", "exponential"]))
@_many("--seed", "seeds", "N", "A repetition: 0, 1, ...", click.IntRange(min=0))
@click.option("--suite", metavar="NAME|FILE", default="quick", show_default=True, help="Has the recipes.")
@click.option("--epochs", metavar="N", type=click.IntRange(min=1), help="Of a study that trains.")
@click.option("--set", "assignments", metavar="PATH=VALUE", multiple=True, help="Change every setting.")
@click.option("--threads", metavar="N", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--device", metavar="D", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
)
@data_option
@_file("--from", "earlier", "A table of this study, to join with what is new, or to draw alone.", many=True)
@_file("--output", "output", "The table: .csv, .parquet or .json.")
@_file("--chart", "chart", f"The chart: {', '.join(CHART_SUFFIXES)}.")
@click.option("--force", is_flag=True, help="Write over existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as a JSON list.")
@plugin_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str,
    earlier: tuple[Path, ...],
    output: Path | None,
    chart: Path | None,
    force: bool,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Make the rows of a study, write them and draw them."""
    study = find_study(name)
    files = Files(output, chart, force)
    files.check()
    anew = not earlier or chosen["models"]
    if not anew:
        refuse(ctx, (*chosen, "plugin"), "--from alone computes nothing", ", or name a network with --model")
    rows = [row for path in earlier for row in study.read(path)]
    if anew:
        rows += study.rows(request_of(study, load_host(ctx), **chosen))
    rows = aligned(rows)
    files.write(rows, lambda: study.chart(rows))
    show(rows, as_json, files)


def show(rows: list[Row], as_json: bool, files: Files) -> None:
    """Print the rows, unless they went to files alone."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif not files.named:
        from synflow_bench.cli._tables import print_table

        print_table(list(rows[0]), [[_text(value) for value in row.values()] for row in rows])
    for pruner, error in _largest_errors(rows).items():
        click.echo(f"largest relative error of {pruner}: {error:.2e}", err=True)
    for path in files.named:
        click.echo(f"written: {path}", err=True)


def _largest_errors(rows: list[Row]) -> dict[str, float]:
    """By pruner, of those rows that have one."""
    largest: dict[str, float] = {}
    for row in rows:
        if isinstance(error := row.get("relative_error"), float | int):
            largest[row["pruner"]] = max(abs(error), largest.get(row["pruner"], 0.0))
    return largest


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
