"""`synflow-bench run`: from a suite to records and a leaderboard."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import (
    cell_options,
    limit_options,
    place_options,
    plugin_option,
    refuse,
    run_options,
)
from synflow_bench.cli.output import print_json, prints_to_stderr, warn
from synflow_bench.errors import UsageError
from synflow_bench.limits import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from synflow_bench.api import PreparedRun
    from synflow_bench.execution import Summary
    from synflow_bench.records import Result
    from synflow_bench.results import Results


@click.command("run")
@cell_options
@place_options
@limit_options
@run_options
@plugin_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    retry_failed: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    details: bool,
    keep: str | None,
    logs: tuple[str, ...],
    log_json: Path | None,
    **options: Any,
) -> int:
    """Prune, train and record the cells of a suite.

    A cell is one pruner at one compression ratio with one seed in one setting: a dataset, a model and a
    recipe. Recorded cells are not run again. At the end the leaderboard of the cells is printed.

    Exit code 0: all cells are recorded; 1: cells failed, lack data or have no valid record; 2: usage error;
    130: interrupted by Ctrl-C, SIGTERM, SIGHUP or SIGUSR1, finished cells are recorded.
    """
    if force and not retry_failed:
        raise UsageError("--force runs every cell again; leave out --no-retry-failed, or --force")
    if dry_run:
        refuse(ctx, ["logs", "log_json", "details", "keep"], "--dry-run runs nothing")
    if as_json:
        refuse(ctx, ["details"], "--json prints no leaderboard")

    from synflow_bench.api import prepare

    host = load_host(ctx)
    for name in logs:
        host.loggers.entry(name.partition("=")[0])
    with prints_to_stderr():
        prepared = prepare(
            **_arguments(**options), force=force, keep=keep, retry_failed=retry_failed, host=host
        )
    warn(prepared.warnings)
    if dry_run:
        from synflow_bench.cli.forecast import forecast

        with prints_to_stderr():
            expected = forecast(prepared.plan, prepared.store, prepared.factory, prepared.resources)
        expected.show(as_json)
        return 0
    with prints_to_stderr():
        for each in logs:
            name, _, target = each.partition("=")
            host.add_logger(name, target, prepared.store.root)
        results = prepared.run(log=log_json)
    if as_json:
        print_json(_as_json(prepared, results))
    elif any(result.status == "ok" for result in results):
        from synflow_bench.leaderboard import print_boards

        print_boards(results.leaderboard(), details=details)
    return _end(results)


def _arguments(
    all_pruners: bool,
    pruners: tuple[str, ...],
    sparsities: tuple[float, ...],
    compressions: tuple[float, ...],
    seeds: int | list[int] | None,
    epochs: int | None,
    precision: str | None,
    protocol: dict[str, Any],
    levels: int | None,
    rewind: str | None,
    cell_timeout: float | None,
    max_failures: int | None,
    memory_limit: int | None,
    recycle_after: int | None,
    assignments: tuple[str, ...],
    address: str | None,
    cells_per_gpu: int | None,
    per_cell: dict[str, str],
    slurm: dict[str, str],
    detach: bool,
    **same: Any,
) -> dict[str, Any]:
    """Turn the options into the arguments of `prepare`."""
    if all_pruners and pruners:
        raise UsageError("--all takes every installed pruner; leave out --pruner, or --all")
    from synflow_bench.api import ALL
    from synflow_bench.arguments import compressions_of

    everywhere = {"recipe.epochs": epochs, "recipe.precision": precision}
    fields = {**protocol, "levels": levels, "rewind": rewind}
    return {
        **{name: None if value == () else value for name, value in same.items()},
        "pruners": ALL if all_pruners else list(pruners) or None,
        "compressions": compressions_of(compressions, sparsities) or None,
        "seeds": seeds,
        "limits": Limits(cell_timeout, memory_limit, recycle_after, max_failures),
        "protocol": {field: value for field, value in fields.items() if value is not None},
        "executor_options": {
            **per_cell,
            **slurm,
            **({"cells_per_gpu": str(cells_per_gpu)} if cells_per_gpu else {}),
            **({"address": address} if address else {}),
            **({"detach": "yes"} if detach else {}),
        },
        "overrides": [
            *assignments,
            *(f"{path}={value}" for path, value in everywhere.items() if value is not None),
        ],
    }


def _as_json(prepared: PreparedRun, results: Results) -> dict[str, Any]:
    from synflow_bench.records import key_of
    from synflow_bench.suites import CellTitles

    found = {result.key: result for result in results}
    titles = CellTitles(prepared.plan.cells)
    cells = [_cell(key_of(cell), titles.of(cell), found) for cell in prepared.plan.cells]
    return {**asdict(_summary(results)), "results": str(results.path), "cells": cells}


def _cell(key: str, title: str, found: dict[str, Result]) -> dict[str, Any]:
    result = found.get(key)
    return {
        "key": key,
        "status": result.status if result else None,
        "cell": title,
        "test_top1": result.metrics.test_top1 if result and result.metrics else None,
        "error": str(result.error) if result and result.error else None,
    }


def _summary(results: Results) -> Summary:
    assert results.summary is not None  # noqa: S101  only loaded results have none
    return results.summary


def _end(results: Results) -> int:
    """Print on stderr how the run ended, and return the exit code: not 0 if a record cannot be read."""
    summary = _summary(results)
    warn(results.unreadable)
    where = f"; records in {results.path}" if results.path.is_dir() else ""
    counted = {"not defined": summary.not_defined, "failed": summary.failed, "skipped": summary.skipped}
    counts = [f"{summary.ok} run", f"{summary.recorded} recorded before"]
    counts += [f"{summary.elsewhere} by other runs"] if summary.elsewhere else []
    counts += [f"{count} {name}" for name, count in counted.items() if count]
    click.echo(f"{_ended(summary)}; cells: {', '.join(counts)}{where}", err=True)
    return summary.exit_code or int(bool(results.unreadable))


def _ended(summary: Summary) -> str:
    if summary.interrupted:
        by = f" {summary.stopped}" if summary.stopped else ""
        return f"interrupted{by}: finished cells are recorded; the same command runs the others"
    if summary.detached:
        return f"detached: {summary.detached}"
    if summary.stopped:
        return f"stopped: {summary.stopped}; finished cells are recorded"
    return "done"
