"""The option `--plugin`. Apart from `options`, which load pydantic, so that listing stays quick."""

from __future__ import annotations

from pathlib import Path

import click

from synflow_bench.cli._loading import PLUGIN_FILES
from synflow_bench.host import PluginFile


def _remember(ctx: click.Context, _parameter: click.Parameter, paths: tuple[Path, ...]) -> None:
    ctx.meta[PLUGIN_FILES] = tuple(PluginFile.read(path) for path in paths)


plugin_option = click.option(
    "--plugin",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    expose_value=False,
    callback=_remember,
    help="A .py file that is a plugin for this command; repeatable.",
)
"""`load_host` takes the files along: a command that has this option need not know of it."""
