"""`synflow-bench reproduce FIGURE`: a figure of Tanaka et al. 2020, run and drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from synflow_bench.charts import CHART_SUFFIXES
from synflow_bench.cli._figures import Files
from synflow_bench.cli._loading import load_host
from synflow_bench.cli.options import data_option, refuse, results_option
from synflow_bench.cli.study import show
from synflow_bench.errors import UsageError
from synflow_bench.studies import FIGURES, SCALES, Figure, find_figure

_NAMES = ", ".join(FIGURES)
_HELP = f"""Reproduce a figure of the SynFlow paper, at its scale or a small one.

FIGURE is one of {_NAMES} of Tanaka et al. 2020, arXiv 2006.05467. What it needs is run, or taken from
records; published points stand beside ours where there are any. At scale small the same figure is made with
small networks in minutes, and says so.
"""


def _file(name: str, field: str, help: str) -> Callable[[Any], Any]:
    return click.option(
        name, field, metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help=help
    )


@click.command("reproduce", help=_HELP)
@click.argument("name", metavar="FIGURE")
@click.option("--scale", type=click.Choice(SCALES), default="paper", show_default=True, help="How large.")
@_file("--chart", "chart", f"The chart: {', '.join(CHART_SUFFIXES)}; by default FIGURE-SCALE.svg.")
@_file("--output", "output", "The table of what is drawn: .csv, .parquet or .json.")
@click.option("--force", is_flag=True, help="Write over existing files.")
@click.option("--dry-run", is_flag=True, help="Only say what would run, and how long it would take.")
@click.option("--executor", metavar="E", default="local", show_default=True, help="Where cells run.")
@click.option("--workers", metavar="N", type=click.IntRange(min=1), help="Cells at a time.")
@click.option("--threads", metavar="N", type=click.IntRange(min=1), default=1, show_default=True)
@click.option(
    "--device", metavar="D", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
)
@results_option
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print what is drawn as a JSON list.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    name: str,
    scale: Any,
    chart: Path | None,
    output: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
    **where: Any,
) -> int:
    """Make the rows of a figure, write them and draw them."""
    figure = find_figure(name)
    _refuse(ctx, figure, dry_run)
    files = Files(output, chart or Path(f"{name}-{scale}.svg"), force)
    if not dry_run:
        files.check()
    from synflow_bench.cli._reproduce import Where, from_study
    from synflow_bench.cli._reproduce_records import foresee, from_records

    host, place = load_host(ctx), Where(**where)
    if dry_run:
        foresee(figure, scale, host, place).show(as_json)
        return 0
    make = from_study if figure.study else from_records
    drawn = make(figure, scale, host, place)
    files.write(drawn.rows, drawn.chart)
    show(drawn.rows, as_json, files)
    return drawn.exit_code


def _refuse(ctx: click.Context, figure: Figure, dry_run: bool) -> None:
    """Refuse what has no effect on `figure`; raises `UsageError`."""
    if figure.study and dry_run:
        raise UsageError(f"{figure.name} is a study and has no cells to foresee; leave out --dry-run")
    if figure.study:
        refuse(ctx, ("executor", "workers", "results"), f"{figure.name} is a study and runs no cells")
    if dry_run:
        refuse(ctx, ("chart", "output", "force"), "--dry-run draws nothing")
