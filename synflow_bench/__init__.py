"""synflow-bench: a plugin-based benchmark suite for neural-network pruning at initialization.

Importing this package imports no torch; its names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synflow_bench.api import run as run
    from synflow_bench.data import Augmentation as Augmentation
    from synflow_bench.data import Dataset as Dataset
    from synflow_bench.data import Split as Split
    from synflow_bench.data import Splits as Splits
    from synflow_bench.data import StreamedSplit as StreamedSplit
    from synflow_bench.errors import HandledError as HandledError
    from synflow_bench.errors import NotDefinedError as NotDefinedError
    from synflow_bench.exporting import export as export
    from synflow_bench.host import hookimpl as hookimpl
    from synflow_bench.leaderboard import Leaderboard as Leaderboard
    from synflow_bench.limits import Limits as Limits
    from synflow_bench.pruning import Masks as Masks
    from synflow_bench.pruning import MaskUpdate as MaskUpdate
    from synflow_bench.pruning import Problem as Problem
    from synflow_bench.pruning import Pruner as Pruner
    from synflow_bench.pruning import ResidualScale as ResidualScale
    from synflow_bench.pruning import TrainingPruner as TrainingPruner
    from synflow_bench.pruning import prune as prune
    from synflow_bench.results import Results as Results
    from synflow_bench.results import load_results as load_results
    from synflow_bench.scores import score as score
    from synflow_bench.suites import PruningOptions as PruningOptions

__version__ = "0.1.0"

_HOMES = {
    "Augmentation": "synflow_bench.data",
    "Dataset": "synflow_bench.data",
    "HandledError": "synflow_bench.errors",
    "Leaderboard": "synflow_bench.leaderboard",
    "Limits": "synflow_bench.limits",
    "MaskUpdate": "synflow_bench.pruning",
    "Masks": "synflow_bench.pruning",
    "NotDefinedError": "synflow_bench.errors",
    "Problem": "synflow_bench.pruning",
    "Pruner": "synflow_bench.pruning",
    "PruningOptions": "synflow_bench.suites",
    "ResidualScale": "synflow_bench.pruning",
    "Results": "synflow_bench.results",
    "Split": "synflow_bench.data",
    "Splits": "synflow_bench.data",
    "StreamedSplit": "synflow_bench.data",
    "TrainingPruner": "synflow_bench.pruning",
    "export": "synflow_bench.exporting",
    "hookimpl": "synflow_bench.host",
    "load_results": "synflow_bench.results",
    "prune": "synflow_bench.pruning",
    "run": "synflow_bench.api",
    "score": "synflow_bench.scores",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
