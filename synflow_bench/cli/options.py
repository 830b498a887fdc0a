"""Options that several commands share, so that they are spelt and explained once."""

from __future__ import annotations

from pathlib import Path

import click

from synflow_bench.data import DATA_VARIABLE, default_data_root
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
