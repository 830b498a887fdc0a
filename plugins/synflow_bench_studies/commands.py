"""The commands `study` and `reproduce`: tables and charts of networks under pruning."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import click

from synflow_bench.charts import CHART_SUFFIXES, chart_bytes, check_chart_path
from synflow_bench.cli import (
    compression_options,
    data_option,
    device_option,
    executor_option,
    json_option,
    load_host,
    plugin_option,
    print_table,
    prints_to_stderr,
    refuse,
    repeatable,
    results_option,
    threads_option,
    workers_option,
)
from synflow_bench.errors import UsageError
from synflow_bench.files import write_atomically
from synflow_bench_studies.catalogue import FIGURES, SCALES, STUDIES, Figure, Scale, find_figure, find_study
from synflow_bench_studies.table import Row, aligned, check_table_path, table_bytes

Decorator = Callable[[Any], Any]

_STUDIES = "\n".join(
    fill(study.help, 76, initial_indent=f"  {study.name:20}", subsequent_indent=" " * 22)
    for study in STUDIES.values()
)
_STUDY_HELP = f"Analyze networks under pruning, as a table and a chart.\n\nNAME is one of\n\n\b\n{_STUDIES}"
_REPRODUCE_HELP = f"""Reproduce a figure of the SynFlow paper, at its scale or a small one.

FIGURE is one of {", ".join(FIGURES)} of Tanaka et al. 2020, arXiv 2006.05467. Cells that are not recorded yet
are run first. Published results are drawn beside ours where there are any. At scale small the figure is made
with small networks, in minutes, and its title says so.
"""


class _Shape(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    name = "shape"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse `3x224x224` or `3,224,224`."""
        parts = str(value).lower().replace(",", "x").split("x")
        if len(parts) == 3 and all(part.strip().isdecimal() and int(part) for part in parts):
            return tuple(int(part) for part in parts)
        message = f"{value!r} is not an input shape; write channels x height x width, such as 3x224x224"
        return self.fail(message, param, ctx)


def _file(name: str, field: str, help: str, *, many: bool = False) -> Decorator:
    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option(name, field, metavar="FILE", type=kind, multiple=many, help=help)


_output = _file("--output", "output", "The table to write: .csv, .parquet or .json.")
_force = click.option("--force", is_flag=True, help="Overwrite existing files.")
_json = json_option("Print the rows as a JSON list.")


@click.command("study", help=_STUDY_HELP)
@click.argument("name", metavar="NAME")
@repeatable("--model", "models", "M", "A model")
@repeatable("--dataset", "datasets", "D", "A dataset; its files are needed to train, and to score with data")
@click.option(
    "--input-shape",
    metavar="CxHxW",
    type=_Shape(),
    help="The input shape, such as 3x224x224, instead of a dataset.",
)
@click.option(
    "--classes", metavar="N", type=click.IntRange(min=1), help="The number of classes, with --input-shape."
)
@repeatable("--pruner", "pruners", "P", "A pruner, such as 'synflow[rounds=10]'")
@compression_options
@repeatable("--rounds", "rounds", "N", "A number of pruning rounds", click.IntRange(min=1))
@repeatable(
    "--schedule",
    "schedules",
    "S",
    "A schedule of the rounds: linear or exponential",
    click.Choice(["linear", "exponential"]),
)
@repeatable("--seed", "seeds", "N", "A seed, such as 0", click.IntRange(min=0))
@click.option(
    "--suite", metavar="NAME|FILE", default="quick", show_default=True, help="The suite whose recipes apply."
)
@click.option("--epochs", metavar="N", type=click.IntRange(min=1), help="Epochs of a study that trains.")
@repeatable("--set", "assignments", "PATH=VALUE", "A change of every setting, such as recipe.lr=0.01.")
@threads_option
@device_option
@data_option
@_file("--from", "earlier", "A table of this study, to extend with new rows or to draw alone.", many=True)
@_output
@_file("--chart", "chart", f"The chart to write: {', '.join(CHART_SUFFIXES)}.")
@_force
@_json
@plugin_option
@click.pass_context
def study(
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
    found = find_study(name)
    files = Files(output, chart, force)
    files.check()
    computes = not earlier or chosen["models"]
    if not computes:
        refuse(ctx, (*chosen, "plugin"), "--from alone computes nothing", ", or name a model with --model")
    rows = [row for path in earlier for row in found.read(path)]
    if computes:
        from synflow_bench.arguments import compressions_of
        from synflow_bench_studies.request import Options

        chosen["compressions"] = compressions_of(chosen["compressions"], chosen.pop("sparsities"))
        host = load_host(ctx)
        with prints_to_stderr():
            rows += found.rows(Options(**chosen).request(found, host))
    rows = aligned(rows)
    files.write(rows, lambda: found.chart(rows))
    _show(rows, as_json, files)


@click.command("reproduce", help=_REPRODUCE_HELP)
@click.argument("name", metavar="FIGURE")
@click.option(
    "--scale", type=click.Choice(SCALES), default="paper", show_default=True, help="The size of the figure."
)
@_file(
    "--chart",
    "chart",
    f"The chart to write: {', '.join(CHART_SUFFIXES)}; by default FIGURE-SCALE.svg.",
)
@_output
@_force
@click.option(
    "--dry-run", is_flag=True, help="Only print which cells would run, and how long they would take."
)
@executor_option
@workers_option
@threads_option
@device_option
@results_option
@data_option
@_json
@click.pass_context
def reproduce(
    ctx: click.Context,
    /,
    name: str,
    scale: Scale,
    chart: Path | None,
    output: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **place: Any,
) -> int:
    """Make the rows of a figure, write them and draw them."""
    figure = find_figure(name)
    _check(ctx, figure, dry_run)
    files = Files(output, chart or Path(f"{name}-{scale}.svg"), force)
    if not dry_run:
        files.check()
    from synflow_bench_studies.figures import Place, forecast_figure, make_figure

    host = load_host(ctx)
    if dry_run:
        with prints_to_stderr():
            expected = forecast_figure(figure, scale, host, Place(**place))
        expected.show(as_json)
        return 0
    with prints_to_stderr():
        drawn = make_figure(figure, scale, host, Place(**place))
    files.write(drawn.rows, drawn.chart)
    _show(drawn.rows, as_json, files)
    return drawn.exit_code


def _check(ctx: click.Context, figure: Figure, dry_run: bool) -> None:
    if figure.study and dry_run:
        raise UsageError(f"{figure.name} is a study and runs no cells; leave out --dry-run")
    if figure.study:
        refuse(ctx, ("executor", "workers", "results"), f"{figure.name} is a study and runs no cells")
    if dry_run:
        refuse(ctx, ("chart", "output", "force"), "--dry-run draws nothing")


@dataclass(frozen=True)
class Files:
    """The table and the chart that a command writes, both or neither; None for one that is not wanted."""

    table: Path | None
    chart: Path | None
    force: bool

    @property
    def named(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.table, self.chart) if path]

    def check(self) -> None:
        """Check before any work that the files can be written.

        Raises:
            UsageError: A suffix is unknown, a file exists, a folder does not, or `--force` has no effect.
        """
        if self.table:
            check_table_path(self.table)
        if self.chart:
            check_chart_path(self.chart)
        if self.force and not self.named:
            raise UsageError("--force has no effect without --output or --chart; leave it out")
        for path in self.named:
            if path.exists() and not self.force:
                raise UsageError(f"{str(path)!r} exists; add --force to overwrite it")
            if not path.parent.is_dir():
                raise UsageError(f"no folder {str(path.parent)!r} for {path.name!r}; create it first")

    def write(self, rows: Sequence[Row], chart: Callable[[], Any]) -> None:
        """Make the contents of all files, then write them."""
        contents: list[tuple[Path, bytes]] = []
        if self.table:
            contents.append((self.table, table_bytes(rows, self.table)))
        if self.chart:
            contents.append((self.chart, chart_bytes(chart(), self.chart)))
        for path, content in contents:
            write_atomically(path, content)


def _show(rows: list[Row], as_json: bool, files: Files) -> None:
    """Print the rows, unless they went to files only, and the largest relative error of each pruner."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    elif not files.named:
        print_table(list(rows[0]), [[_text(value) for value in row.values()] for row in rows])
    errors: dict[str, float] = {}
    for row in rows:
        if isinstance(error := row.get("relative_error"), float | int):
            errors[row["pruner"]] = max(abs(error), errors.get(row["pruner"], 0.0))
    for pruner, error in errors.items():
        click.echo(f"largest relative error of {pruner}: {error:.2e}", err=True)
    for path in files.named:
        click.echo(f"written: {path}", err=True)


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
