"""What a plugin may implement.

A value of a mapping is an object, or a "module:attr" string, which is imported when it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from synflow_bench.host._events import RunFinished, RunStarted
from synflow_bench.host._markers import hookspec

if TYPE_CHECKING:
    import click

    from synflow_bench.records import Epoch, Record
    from synflow_bench.suites import Cell, Suite


@hookspec
def synflow_bench_pruners() -> Mapping[str, object]:
    """Give pruners by name."""
    return {}


@hookspec
def synflow_bench_models() -> Mapping[str, object]:
    """Give factories of networks by name, called as `factory(input_shape, num_classes, **options)`."""
    return {}


@hookspec
def synflow_bench_datasets() -> Mapping[str, object]:
    """Give data sets by name."""
    return {}


@hookspec
def synflow_bench_executors() -> Mapping[str, object]:
    """Give executors by name."""
    return {}


@hookspec
def synflow_bench_suites() -> Mapping[str, str | Path | Suite]:
    """Give suites by name: each a `Suite`, or the absolute path of its TOML file."""
    return {}


@hookspec
def synflow_bench_loggers() -> Mapping[str, object]:
    """Give loggers by name, called as `factory(target, results)` when `--log NAME=TARGET` switches one on."""
    return {}


@hookspec
def synflow_bench_commands(group: click.Group) -> None:
    """Add commands of your own to `group`, the `synflow-bench` command line."""


@hookspec
def synflow_bench_run_started(run: RunStarted) -> None:
    """Hear that a run starts."""


@hookspec
def synflow_bench_epoch_finished(cell: Cell, epoch: Epoch) -> None:
    """Hear that a cell has trained one more epoch."""


@hookspec
def synflow_bench_cell_finished(record: Record) -> None:
    """Hear that a cell has its record, whatever its status."""


@hookspec
def synflow_bench_run_finished(run: RunFinished) -> None:
    """Hear that a run has ended."""
