"""`synflow-bench run`: from a suite to records and a leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synflow_bench.cli._choice import Choice
from synflow_bench.cli._loading import load_host
from synflow_bench.cli._run_options import how, where, which_cells
from synflow_bench.cli.plugin_option import plugin_option
from synflow_bench.errors import UsageError

if TYPE_CHECKING:
    from synflow_bench.execution import Plan
    from synflow_bench.host import Host
    from synflow_bench.records import Store
    from synflow_bench.suites import Cell


@click.command("run")
@which_cells
@where
@how
@plugin_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    results: Path,
    data: Path,
    executor: str,
    workers: int | None,
    threads: int,
    device: str,
    retry_failed: bool,
    force: bool,
    dry_run: bool,
    as_json: bool,
    logs: tuple[str, ...],
    **chosen: Any,
) -> int:
    """Prune, train and record what a suite asks for.

    Cells that are recorded already are not run again. At the end the leaderboard of what was asked for is
    printed. Exit code 0: all cells are recorded; 1: some failed or were skipped; 2: a usage error; 130:
    interrupted.
    """
    if force and not retry_failed:
        raise UsageError("--force runs every cell again; leave out --no-retry-failed, or --force")
    if dry_run and logs:
        raise UsageError("--dry-run logs nothing; leave out --log, or --dry-run")
    choice = _choice(**chosen)
    host = load_host(ctx)
    for name in logs:
        host.loggers.entry(name.partition("=")[0])
    cells = _cells(choice, host)

    from synflow_bench.execution import Resources, check_settings, make_plan
    from synflow_bench.records import Store

    factory = host.executors.get(executor)
    resources = Resources(data, device, workers or 0, threads, host.files)
    store = Store(results)
    plan = make_plan(cells, host, store, data, force=force, retry_failed=retry_failed)
    check_settings(plan, host)
    _warn(plan, host, store)
    if dry_run:
        from synflow_bench.cli._forecast import forecast

        forecast(plan, store, factory, resources).show(as_json)
        return 0
    from synflow_bench.cli._outcome import Outcome
    from synflow_bench.cli._running import run

    for each in logs:
        name, _, target = each.partition("=")
        host.add_logger(name, target, results)
    outcome = Outcome.of(plan, store, run(plan, store, host, factory, resources))
    outcome.show(as_json)
    return outcome.exit_code


def _choice(
    epochs: int | None,
    precision: str | None,
    protocol: str | None,
    levels: int | None,
    rewind: str | None,
    **chosen: Any,
) -> Choice:
    if chosen["all_pruners"] and chosen["pruners"]:
        raise UsageError("--all takes every installed pruner; leave out --pruner, or --all")
    everywhere = {"recipe.epochs": epochs, "recipe.precision": precision}
    chosen["assignments"] += tuple(f"{path}={to}" for path, to in everywhere.items() if to is not None)
    given = {"name": protocol, "levels": levels, "rewind": rewind}
    return Choice(**chosen, protocol={field: to for field, to in given.items() if to is not None})


def _cells(choice: Choice, host: Host) -> list[Cell]:
    suite = choice.suite_of(host)
    pruners = choice.pruners_of(suite)

    from synflow_bench.execution import cells_of, installed_pruners, resolve_pruners

    resolved = installed_pruners(host, _say) if pruners is None else resolve_pruners(pruners, host)
    return cells_of(suite, resolved, host)


def _warn(plan: Plan, host: Host, store: Store) -> None:
    from synflow_bench.execution import changed_files

    kept = str(store.root / "replaced")
    for line in plan.unreadable.values():
        _say(f"{line}; unless you restore it, its cell runs again and the file is kept below {kept!r}")
    for line in plan.unavailable.values():
        _say(line)
    for name, cells in changed_files(plan, host, store).items():
        again = "--force runs them again, and so does a higher `revision` in the file"
        _say(f"{cells} recorded cell{'s' * (cells > 1)} used another version of {name!r}; {again}")


def _say(line: str) -> None:
    click.echo(f"warning: {line}", err=True)
