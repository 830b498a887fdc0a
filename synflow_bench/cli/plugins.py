"""`synflow-bench plugins`: what is installed and whether it works. No faulty plugin stops this command."""

from __future__ import annotations

import json
from typing import Any

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli._tables import print_table
from synflow_bench.cli.plugin_option import plugin_option
from synflow_bench.host import Plugin, short

_FEW = 6
"""So many names are told; of more, only how many."""


@click.command("plugins")
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins, what they provide, and why one may not take part."""
    plugins = _all_asked(ctx)
    if as_json:
        click.echo(json.dumps([_summary(plugin) for plugin in plugins], indent=1))
    else:
        print_table(
            ["plugin", "distribution", "version", "status", "provides"],
            [[p.name, p.distribution, short(p.version), p.status, p.cause or _told(p)] for p in plugins],
        )


def _all_asked(ctx: click.Context) -> tuple[Plugin, ...]:
    """The plugins after each was asked for its commands, which is done only where they matter."""
    root = ctx.find_root().command
    if isinstance(root, click.Group):
        root.list_commands(ctx)
    return load_host(ctx, check=False).plugins


def _summary(plugin: Plugin) -> dict[str, Any]:
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "plugin": plugin.name,
        "reference": plugin.reference,
        "status": plugin.status,
        "cause": plugin.cause or None,
        "provides": plugin.provides,
    }


def _told(plugin: Plugin) -> str:
    return "; ".join(
        f"{kind}s: {', '.join(names)}" if len(names) <= _FEW else f"{len(names)} {kind}s"
        for kind, names in plugin.provides.items()
    )
