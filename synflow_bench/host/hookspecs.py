"""The plugin contract: the hooks that a plugin may implement, and the two values that describe a run.

A plugin is a module (or an object) with functions of these names under `@hookimpl`; it implements those that
it needs, with all or some of the arguments. A hook that returns a mapping registers names. A value of the
mapping is an object, or a "module:attr" string that is imported when the name is used.

Example:
    >>> from synflow_bench import hookimpl
    >>> @hookimpl
    ... def synflow_bench_pruners():
    ...     return {"gradnorm": "my_package.gradnorm:GradNorm"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from synflow_bench.records import Epoch, Record
    from synflow_bench.suites import Cell, Suite


PROJECT = "synflow_bench"
"""The name of the pluggy project, and of the entry point group of plugins."""

CONTRACT = 1
"""The version of this contract; a plugin may declare its version as `synflow_bench_contract = 1`."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class ContractError(Exception):
    """A breach of the contract: the plugin is invalid."""


class OtherContractError(Exception):
    """A plugin for another version of the contract or of synflow-bench: it is quarantined."""


@dataclass(frozen=True)
class RunStarted:
    """The start of a run.

    Attributes:
        results: The results folder.
        cells: The number of cells.
        recorded: The number of cells that have a record already and need no work.
    """

    results: Path
    cells: int
    recorded: int


@dataclass(frozen=True)
class RunFinished(RunStarted):
    """The end of a run.

    Attributes:
        ok: The number of cells of this run that succeeded.
        failed: The number of cells that failed.
        skipped: The number of cells that were skipped.
    """

    ok: int
    failed: int
    skipped: int


@hookspec
def synflow_bench_pruners() -> Mapping[str, object]:
    """Register pruners by name."""
    return {}


@hookspec
def synflow_bench_models() -> Mapping[str, object]:
    """Register factories of models by name, called as `factory(input_shape, num_classes, **options)`."""
    return {}


@hookspec
def synflow_bench_datasets() -> Mapping[str, object]:
    """Register datasets by name."""
    return {}


@hookspec
def synflow_bench_executors() -> Mapping[str, object]:
    """Register executors by name."""
    return {}


@hookspec
def synflow_bench_suites() -> Mapping[str, str | Path | Suite]:
    """Register suites by name, each a `Suite` or the absolute path of its TOML file."""
    return {}


@hookspec
def synflow_bench_loggers() -> Mapping[str, object]:
    """Register loggers by name, called as `factory(target, results)` for the option `--log NAME=TARGET`."""
    return {}


@hookspec
def synflow_bench_commands(group: click.Group) -> None:
    """Add commands to `group`, the `synflow-bench` command line."""


@hookspec
def synflow_bench_run_started(run: RunStarted) -> None:
    """Handle the start of a run."""


@hookspec
def synflow_bench_epoch_finished(cell: Cell, epoch: Epoch) -> None:
    """Handle the end of one training epoch of a cell."""


@hookspec
def synflow_bench_cell_finished(record: Record) -> None:
    """Handle the record of a finished cell, whatever its status."""


@hookspec
def synflow_bench_run_finished(run: RunFinished) -> None:
    """Handle the end of a run."""


HOOKS = tuple(name for name in [*globals()] if name.startswith(f"{PROJECT}_"))
"""The names of all hooks."""
