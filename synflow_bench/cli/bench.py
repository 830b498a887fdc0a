"""`synflow-bench bench`: how fast this machine is, and how long each suite would take it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli.options import data_option
from synflow_bench.cli.plugin_option import plugin_option
from synflow_bench.errors import UsageError

if TYPE_CHECKING:
    from synflow_bench.host import Host

PRUNERS = ("random", "snip", "synflow")


@click.command("bench")
@click.option(
    "--suite", "suites", metavar="NAME|FILE", multiple=True, help="Only networks of this suite; repeatable."
)
@click.option("--model", "models", metavar="M", multiple=True, help="Only this network; repeatable.")
@click.option(
    "--dataset", "datasets", metavar="D", multiple=True, help="Only this data set's form; repeatable."
)
@click.option(
    "--pruner",
    "pruners",
    metavar="P",
    multiple=True,
    default=PRUNERS,
    show_default=True,
    help="What to time.",
)
@click.option(
    "--device", metavar="D", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
)
@click.option(
    "--threads", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Threads a worker."
)
@click.option("--quick", is_flag=True, help="Take a fifth of the time over each number.")
@click.option(
    "--minutes",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Begin no other network after so long; those named by --model are all measured.",
)
@click.option("--no-keep", is_flag=True, help="Only print; `run --dry-run` does not hear of it.")
@data_option
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(
    ctx: click.Context,
    suites: tuple[str, ...],
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    pruners: tuple[str, ...],
    device: str,
    threads: int,
    quick: bool,
    minutes: float,
    no_keep: bool,
    data: Path,
    as_json: bool,
) -> None:
    """Measure this machine: training, evaluation and pruning of the networks of the installed suites.

    One worker is measured on made-up data of the right form: no data set needs to be here. Seconds are of
    processor time on a CPU with one thread, so that what else the machine does is left out. What would take
    long is worked out from a part. The result is kept as `speed.json` in the data folder, by device, version
    of torch and threads, and `run --dry-run` estimates from it.
    """
    host = load_host(ctx)
    _check_names(host, models, datasets)

    from synflow_bench.cli._bench import Order, measure_all
    from synflow_bench.cli._bench_report import report

    order = Order(
        suites,
        models,
        datasets,
        pruners,
        device,
        threads,
        quick,
        float("inf") if models else 60 * minutes,
        data,
    )
    measured = measure_all(order, host, keep=not no_keep, say=lambda line: click.echo(line, err=True))
    if as_json:
        click.echo(json.dumps(report(measured).as_json(), indent=1))
    else:
        report(measured).show()


def _check_names(host: Host, models: tuple[str, ...], datasets: tuple[str, ...]) -> None:
    for registry, names in ((host.models, models), (host.datasets, datasets)):
        for name in names:
            registry.entry(name)
    if len(set(models)) < len(models) or len(set(datasets)) < len(datasets):
        raise UsageError("a network or a data set is named twice; name each once")
