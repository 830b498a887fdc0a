"""Where data sets are, when nobody says, and the command that fetches them. Imports no torch."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import platformdirs

DATA_VARIABLE = "SYNFLOW_BENCH_DATA"
"""The environment variable that names the data folder."""


def default_data_root() -> Path:
    """The folder that `SYNFLOW_BENCH_DATA` names, else `data` in the user's own folder for synflow-bench."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else platformdirs.user_data_path("synflow-bench", appauthor=False) / "data"


def download_command(root: Path, *names: str) -> str:
    """The command line that fetches the data sets `names` into `root`."""
    command = ["synflow-bench", "data", "download", *names]
    if root != default_data_root():
        command += ["--data", str(root)]
    return shlex.join(command)
