"""Options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
from click.core import ParameterSource

from synflow_bench.data import DATA_VARIABLE, default_data_root
from synflow_bench.errors import UsageError
from synflow_bench.records.location import RESULTS_VARIABLE, default_results_root

results_option = click.option(
    "--results",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_results_root,
    show_default=f"${RESULTS_VARIABLE} or ./results",
    help="The results folder.",
)

data_option = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=default_data_root,
    show_default=f"${DATA_VARIABLE} or a folder of the user's own",
    help="The data folder.",
)


def refuse(ctx: click.Context, names: Iterable[str], reason: str, way_out: str = "") -> None:
    """Raise `UsageError` where any of the parameters `names` was given, for all of which `reason` holds."""
    spelt = {str(parameter.name): parameter.opts[0] for parameter in ctx.command.params}
    given = [spelt[name] for name in names if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    if given:
        has, them = ("has", "it") if len(given) == 1 else ("have", "them")
        named = " and ".join(filter(None, (", ".join(given[:-1]), given[-1])))
        raise UsageError(f"{reason}, so {named} {has} no effect; leave {them} out{way_out}")
