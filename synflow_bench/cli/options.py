"""Options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from pathlib import Path

import click

from synflow_bench.cli._loading import PLUGIN_FILES
from synflow_bench.data import DATA_VARIABLE, default_data_root
from synflow_bench.host import PluginFile
from synflow_bench.records.location import RESULTS_VARIABLE, default_results_root

results_option = click.option(
    "--results",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_results_root,
    show_default=f"${RESULTS_VARIABLE} or ./results",
    help="The results folder.",
)


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

data_option = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_data_root,
    show_default=f"${DATA_VARIABLE} or a folder of the user's own",
    help="The data folder.",
)
