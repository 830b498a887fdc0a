"""Where results are, when nobody says."""

from __future__ import annotations

import os
from pathlib import Path

RESULTS_VARIABLE = "SYNFLOW_BENCH_RESULTS"
"""The environment variable that names the results folder."""


def default_results_root() -> Path:
    """The folder that `SYNFLOW_BENCH_RESULTS` names, else `results` below the working folder."""
    return Path(os.environ.get(RESULTS_VARIABLE) or "results")
