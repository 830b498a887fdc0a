"""`synflow-bench list KIND`: what is installed, and where each name comes from."""

from __future__ import annotations

import json

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli._tables import print_table
from synflow_bench.cli.plugin_option import plugin_option
from synflow_bench.host import KINDS, Entry, short

_PLURALS = {f"{kind}s": kind for kind in KINDS}


@click.command("list")
@click.argument("kind", metavar="KIND", type=click.Choice(list(_PLURALS)))
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, kind: str, as_json: bool) -> None:
    """List the installed pruners, models, datasets, suites, executors or loggers.

    KIND is one of these words. Shown are the distribution that brings each name, and where it is; what
    stands behind the names is not imported.
    """
    entries = load_host(ctx).registry(_PLURALS[kind]).entries()
    if as_json:
        click.echo(json.dumps([_summary(entry) for entry in entries], indent=1))
    else:
        print_table(
            ["name", "distribution", "version", "reference"],
            [[entry.name, entry.distribution, short(entry.version), entry.where] for entry in entries],
        )


def _summary(entry: Entry) -> dict[str, str]:
    return {
        "name": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "plugin": entry.plugin,
        "reference": entry.where,
    }
