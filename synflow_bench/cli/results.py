"""`synflow-bench results`: list, compare, export, import, merge and verify records."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import flag, json_option, repeatable, results_option
from synflow_bench.cli.output import none_left, print_json, print_line, warn
from synflow_bench.errors import DENSE, RecordError, UsageError, printable
from synflow_bench.leaderboard import choose
from synflow_bench.records import (
    Comparison,
    Result,
    Store,
    compare_records,
    export_records,
    import_records,
    json_schema,
)
from synflow_bench.suites import CellTitles

_PRINTED = 20
"""The number of lines of a kind that are printed; further ones are counted."""
_LOCAL_IS_KEPT = "the local record is kept; --force replaces it"
_sources = click.argument(
    "sources", metavar="SOURCE...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
_json = json_option("Print the outcome as JSON.")


@click.group("results")
def command() -> None:
    """List, compare, export, import and verify records.

    A record is the JSON file of one cell. An archive is a .tar.gz file of records.
    """


@command.command("list")
@results_option
@json_option("Print a JSON list.")
def list_(results: Path, as_json: bool) -> int:
    """List the recorded cells: key, status, test accuracy, title.

    Exit code 0: all records are listed; 1: some cannot be read.
    """
    unreadable: list[str] = []
    records = sorted(Store(results).results(unreadable, in_full=True), key=_order)
    titles = CellTitles(record.cell for record in records)
    if as_json:
        print_json([_summary(record, titles) for record in records])
        return warn(unreadable)
    if not records and not unreadable:
        click.echo(f"no records in {str(results)!r}", err=True)
    for record in records:
        top1 = f"{100 * record.metrics.test_top1:5.1f}" if record.metrics else "    –"
        print_line(f"{record.key}  {record.status:7}  {top1}  ", titles.of(record.cell))
    return warn(unreadable)


def _order(record: Result) -> tuple[str, bool, str, float, int, str]:
    cell = record.cell
    return cell.setting.title, not cell.is_dense, cell.row, cell.compression, cell.seed, record.key


def _summary(record: Result, titles: CellTitles) -> dict[str, Any]:
    top1 = record.metrics.test_top1 if record.metrics else None
    return {"key": record.key, "status": record.status, "cell": titles.of(record.cell), "test_top1": top1}


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of a record."""
    print_json(json_schema())


@command.command("export")
@click.argument("file", metavar="FILE.tar.gz", type=click.Path(path_type=Path, dir_okay=False))
@results_option
@repeatable("--dataset", "datasets", "D", "Only this dataset.")
@repeatable("--model", "models", "M", "Only this model.")
@repeatable("--pruner", "pruners", "P", "Only this pruner, or row of the leaderboard.")
@flag("--records-only", "records_only", "Leave out masks and weights that were kept.")
@flag("--force", "force", "Overwrite an existing FILE.")
def export(file: Path, results: Path, records_only: bool, force: bool, **chosen: tuple[str, ...]) -> int:
    """Write records to an archive; equal records give equal bytes.

    Masks and weights that were kept beside the records are part of it.

    Exit code 0: all chosen records are in the archive; 1: some cannot be read; 2: usage error.
    """
    if file.exists() and not force:
        raise UsageError(f"{str(file)!r} exists; add --force to overwrite it")
    store = Store(results)
    unreadable: list[str] = []
    records = choose(store.read_all(unreadable), **chosen)
    if not records and unreadable:
        raise none_left(unreadable)
    if not records:
        raise RecordError(f"no records in {str(results)!r}; name their folder with --results")
    export_records(records, store, file, kept=not records_only)
    click.echo(f"{len(records)} records in {str(file)!r}", err=True)
    return warn(unreadable)


@command.command("import")
@_sources
@results_option
@flag("--dry-run", "dry_run", "Only compare; write nothing.")
@flag("--force", "force", "Import differing records too; local ones are moved to replaced/.")
@_json
@click.pass_context
def import_(
    ctx: click.Context, sources: tuple[Path, ...], results: Path, dry_run: bool, force: bool, as_json: bool
) -> int:
    """Import records from archives and results folders.

    Each record is validated, and its key is computed again. A local record of the same key is kept, even if
    its content differs in more than timing and provenance.

    Exit code 0: all records are recorded here; 1: some were left out; 2: usage error.
    """
    store = Store(results)
    comparison = _compared(sources, store)
    replaced = [key for key in comparison.conflicts if force and key not in comparison.failures]
    wanted = [*comparison.new, *replaced]
    taken = len(wanted) if dry_run else import_records(sources, store, wanted)
    would = "would_be_" if dry_run else ""
    done = {f"{would}imported": taken, f"{would}replaced": len(replaced)}
    _report(comparison, as_json, done, _unknown(ctx, comparison), replaced)
    left_out = len(replaced) < len(comparison.conflicts)
    return int(bool(comparison.disputed or comparison.refused or left_out))


@command.command("merge")
@_sources
@click.option(
    "--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The new results folder."
)
@flag("--force", "force", "Add to an existing DIR; no record in it is overwritten.")
@_json
@click.pass_context
def merge(ctx: click.Context, sources: tuple[Path, ...], output: Path, force: bool, as_json: bool) -> int:
    """Merge archives and results folders into a new results folder.

    Records on which the sources disagree are left out.

    Exit code 0: all records are merged; 1: some were left out; 2: usage error.
    """
    if output.exists() and not force:
        raise UsageError(f"{str(output)!r} exists; add --force to add to it, or name another folder")
    store = Store(output)
    comparison = _compared(sources, store)
    taken = import_records(sources, store, comparison.new)
    _report(comparison, as_json, {"imported": taken, "replaced": 0}, _unknown(ctx, comparison))
    return int(not comparison.is_clean)


@command.command("verify")
@click.argument("sources", metavar="[SOURCE...]", nargs=-1, type=click.Path(path_type=Path))
@results_option
@_json
@click.pass_context
def verify(ctx: click.Context, sources: tuple[Path, ...], results: Path, as_json: bool) -> int:
    """Check the schema, key, place and content of every record.

    A SOURCE is an archive or a results folder; without one, the results folder is checked. Records of one key
    must have the same content.

    Exit code 0: all records are valid; 1: some are not; 2: usage error.
    """
    comparison = _compared(sources or (results,))
    _report(comparison, as_json, {"valid": len(comparison.new)}, _unknown(ctx, comparison))
    return int(not comparison.is_clean)


@command.command("diff")
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@results_option
@_json
def diff(first: str, second: str, results: Path, as_json: bool) -> int:
    """Compare two results folders, two archives, or two records.

    A and B are folders, archives, or the keys of two records in the results folder. Cells that both have are
    compared: equal records, equal masks, and the test accuracy of B less that of A, paired by seed. A row
    differs beyond noise if the 95 % t-interval of these differences excludes zero.

    Exit code 0: no cell is on one side only, and no row differs beyond noise; 1: otherwise; 2: usage error.
    """
    from synflow_bench.cli.results_diff import print_sides
    from synflow_bench.leaderboard.side_by_side import compare_sides

    sides = compare_sides(first, second, Store(results))
    print_sides(sides, as_json)
    return int(sides.differs)


def _compared(sources: Sequence[Path], store: Store | None = None) -> Comparison:
    """Compare records.

    Raises:
        RecordError: A source has none, or cannot be read.
    """
    comparison = compare_records(sources, store)
    for line in comparison.empty:
        raise RecordError(line)
    return comparison


def _unknown(ctx: click.Context, comparison: Comparison) -> dict[str, int]:
    """Count the offered records of pruners that are not installed here."""
    installed = load_host(ctx, check=False).pruners
    offered = comparison.pruners.items()
    return {name: count for name, count in offered if name != DENSE and name not in installed}


def _report(
    comparison: Comparison,
    as_json: bool,
    done: Mapping[str, int],
    unknown: Mapping[str, int],
    replaced: Collection[str] = (),
) -> None:
    if as_json:
        compared = {name: value for name, value in vars(comparison).items() if name != "empty"}
        outcome = {**done, **compared, "counts": _counts(comparison), "unknown_pruners": unknown}
        print_json(outcome)
        return
    in_place = "imported" if "imported" in done else "would be imported"
    failed = "it failed and the local one did not, which is kept"
    verdicts = dict.fromkeys(replaced, f"{in_place} in place of the local record")
    verdicts = dict.fromkeys(comparison.failures, failed) | verdicts
    differing = [
        f"{key} from {where} differs from the local record: {verdicts.get(key, _LOCAL_IS_KEPT)}"
        for key, where in comparison.conflicts.items()
    ]
    disputed = [f"{key} differs between {where}: left out" for key, where in comparison.disputed.items()]
    for lines in (comparison.refused, differing, disputed):
        _print_some(lines)
    if unknown:
        names = ", ".join(f"{name} ({count})" for name, count in unknown.items())
        click.echo(f"note: records of pruners that are not installed here: {names}", err=True)
    others = {what: count for what, count in _counts(comparison).items() if count}
    click.echo(", ".join(f"{count} {_words(what)}" for what, count in {**done, **others}.items()))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _print_some(lines: Sequence[str]) -> None:
    for line in lines[:_PRINTED]:
        click.echo(printable(line), err=True)
    if len(lines) > _PRINTED:
        click.echo(f"... and {len(lines) - _PRINTED} more; --json prints all", err=True)


def _counts(comparison: Comparison) -> dict[str, int]:
    return {
        "already recorded": len(comparison.same),
        "in conflict": len(comparison.conflicts),
        "disputed": len(comparison.disputed),
        "refused": len(comparison.refused),
    }
