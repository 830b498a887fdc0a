"""`synflow-bench profile`: where the time of a cell goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli._tables import print_table
from synflow_bench.cli.options import data_option
from synflow_bench.cli.plugin_option import plugin_option

if TYPE_CHECKING:
    from synflow_bench.profiling import Profile


@click.command("profile")
@click.option(
    "--dataset", metavar="D", default="digits", show_default=True, help="The data set; it must be here."
)
@click.option("--model", metavar="M", default="fc", show_default=True, help="The network.")
@click.option("--pruner", metavar="P", default="synflow", show_default=True, help="The pruner.")
@click.option(
    "--compression",
    metavar="C",
    type=click.FloatRange(1),
    default=10.0,
    show_default=True,
    help="Prunable over kept weights.",
)
@click.option("--epochs", metavar="N", type=click.IntRange(0), help="Epochs; by default those of the suite.")
@click.option(
    "--cells",
    metavar="N",
    type=click.IntRange(1, 8),
    default=1,
    show_default=True,
    help="Cells run as one, where the network allows it.",
)
@click.option(
    "--device", metavar="D", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
)
@click.option("--threads", metavar="N", type=click.IntRange(1), default=1, show_default=True, help="Threads.")
@data_option
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@click.pass_context
def command(
    ctx: click.Context,
    dataset: str,
    model: str,
    pruner: str,
    compression: float,
    epochs: int | None,
    cells: int,
    device: str,
    threads: int,
    data: Path,
    as_json: bool,
) -> None:
    """Say where the time of one cell goes.

    The cell is run in a fresh process, as a worker is one, by the recipe of the first installed suite with
    this data set and network, else for one epoch. Nested timers around the harness's own parts measure wall
    time: a stage has what no stage inside it has. Their sum is compared with the time from the start of the
    process to the last record. Nothing is kept.
    """
    host = load_host(ctx)
    host.datasets.entry(dataset)
    host.models.entry(model)

    from synflow_bench.cli._profile import Request, run_profile

    request = Request(dataset, model, pruner, compression, epochs, cells, device, threads, data)
    profile = run_profile(request, host)
    if as_json:
        click.echo(json.dumps(profile.as_json(), indent=1))
    else:
        _print(profile)


def _print(profile: Profile) -> None:
    click.echo(f"{profile.title}\n{profile.device}, torch {profile.torch}, {profile.engine} engine\n")
    print_table(
        ["stage", "seconds", "share", "calls"],
        [
            [row.stage, f"{row.seconds:.3f}", f"{row.seconds / profile.total:.1%}", f"{row.calls:,}"]
            for row in profile.rows
        ],
    )
    share = profile.sum / profile.total
    click.echo(
        f"\nstages: {profile.sum:.3f} s, {share:.1%} of {profile.total:.3f} s from start to last record"
    )
