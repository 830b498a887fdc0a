"""`synflow-bench new-plugin NAME`: a small distribution to start from."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.errors import UsageError
from synflow_bench.host import Host
from synflow_bench.scaffold import Kind, names_of, write_distribution


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(get_args(Kind)), default="pruner", show_default=True, help="What to write."
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="the folder that this is run in",
    help="Where the new folder goes.",
)
@click.pass_context
def command(ctx: click.Context, name: str, kind: Kind, output: Path) -> None:
    """Write a small distribution with a plugin of your own.

    NAME is that under which it will be registered, such as gradnorm. The folder synflow-bench-NAME is made
    with one module, tests that use the conformance kit, a README and a workflow for CI.
    """
    names = names_of(name, kind)
    _check_free(load_host(ctx), kind, names.plugin)
    folder = write_distribution(names, kind, output)
    click.echo(f"wrote {folder}\nnext: pip install -e {folder} && synflow-bench check {names.plugin}")


def _check_free(host: Host, kind: str, name: str) -> None:
    registry = host.registry(kind)
    if name in registry:
        entry = registry.entry(name)
        raise UsageError(f"{kind} {name!r} is taken by {entry.distribution} {entry.version}; choose another")
