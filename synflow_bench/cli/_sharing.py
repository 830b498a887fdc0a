"""`synflow-bench results export|import|verify|merge`: hand records on, and take those of others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli.options import results_option
from synflow_bench.errors import RecordError, UsageError
from synflow_bench.leaderboard import choose
from synflow_bench.names import DENSE
from synflow_bench.records import Store, printable
from synflow_bench.records.sharing import Comparison, compare, pack, take

_SHOWN = 20
"""Lines of a kind at most; the rest is counted."""
_OURS_STAYS = "ours stays, unless --force is given"
_path = click.Path(path_type=Path)
_sources = click.argument("sources", metavar="SOURCE...", nargs=-1, required=True, type=_path)
_json = click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")


@click.command("export")
@click.argument("file", metavar="FILE.tar.gz", type=click.Path(path_type=Path, dir_okay=False))
@results_option
@click.option("--dataset", "datasets", metavar="D", multiple=True, help="Only this data set; repeatable.")
@click.option("--model", "models", metavar="M", multiple=True, help="Only this model; repeatable.")
@click.option("--pruner", "pruners", metavar="P", multiple=True, help="Only this pruner or row; repeatable.")
@click.option("--force", is_flag=True, help="Write over an existing FILE.")
def export(file: Path, results: Path, force: bool, **chosen: tuple[str, ...]) -> None:
    """Write records to one archive; equal records give equal bytes."""
    if file.exists() and not force:
        raise UsageError(f"{str(file)!r} exists; add --force to write over it")
    store = Store(results)
    records = choose(store, **chosen)
    if not records:
        raise RecordError(f"no records in {str(results)!r}; name their folder with --results")
    pack(records, store, file)
    click.echo(f"{len(records)} records in {str(file)!r}", err=True)


@click.command("import")
@_sources
@results_option
@click.option("--dry-run", is_flag=True, help="Only compare; write nothing.")
@click.option("--force", is_flag=True, help="Take theirs where contents differ; ours go to replaced/.")
@_json
@click.pass_context
def import_(
    ctx: click.Context, sources: tuple[Path, ...], results: Path, dry_run: bool, force: bool, as_json: bool
) -> int:
    """Take the records of archives or results folders that are not here yet.

    Each is validated and its key computed anew. Where contents differ from the record that is here, apart
    from timing and provenance, ours stays. Exit code 1: something was left out.
    """
    store = Store(results)
    comparison = compare(sources, store)
    replaced = [*comparison.conflicts] if force else []
    wanted = [*comparison.new, *replaced]
    taken = len(wanted) if dry_run else take(sources, store, wanted)
    would = "would_be_" if dry_run else ""
    done = {f"{would}taken": taken, f"{would}replaced": len(replaced)}
    verdict = f"{_words(would)}taken in place of ours" if force else _OURS_STAYS
    _report(comparison, as_json, done, _unknown(ctx, comparison), verdict)
    return int(bool(comparison.contested or comparison.refused or (comparison.conflicts and not force)))


@click.command("merge")
@_sources
@click.option(
    "--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The new results folder."
)
@click.option("--force", is_flag=True, help="Add to an existing DIR; no record in it is written over.")
@_json
@click.pass_context
def merge(ctx: click.Context, sources: tuple[Path, ...], output: Path, force: bool, as_json: bool) -> int:
    """Put the records of several archives or results folders into one folder.

    Records that the sources disagree on are left out. Exit code 1: something was left out.
    """
    if output.exists() and not force:
        raise UsageError(f"{str(output)!r} exists; add --force to add to it, or name another folder")
    store = Store(output)
    comparison = compare(sources, store)
    taken = take(sources, store, comparison.new)
    _report(comparison, as_json, {"taken": taken, "replaced": 0}, _unknown(ctx, comparison))
    return int(not comparison.is_clean)


@click.command("verify")
@click.argument("sources", metavar="[SOURCE...]", nargs=-1, type=click.Path(path_type=Path))
@results_option
@_json
@click.pass_context
def verify(ctx: click.Context, sources: tuple[Path, ...], results: Path, as_json: bool) -> int:
    """Check every record in full: schema, key, place, and that equal keys have equal contents.

    A SOURCE is an archive or a results folder; without one, the results folder is checked. Exit code 1:
    there are faults.
    """
    comparison = compare(sources or (results,))
    if not comparison.new and comparison.is_clean:
        raise RecordError(f"no records in {', '.join(repr(str(each)) for each in sources or (results,))}")
    _report(comparison, as_json, {"valid": len(comparison.new)}, _unknown(ctx, comparison))
    return int(not comparison.is_clean)


def _unknown(ctx: click.Context, comparison: Comparison) -> dict[str, int]:
    """Offered records by pruner, of pruners that are not installed here."""
    installed = load_host(ctx, check=False).pruners
    offered = comparison.pruners.items()
    return {name: count for name, count in offered if name != DENSE and name not in installed}


def _report(
    comparison: Comparison,
    as_json: bool,
    done: Mapping[str, int],
    unknown: Mapping[str, int],
    verdict: str = _OURS_STAYS,
) -> None:
    if as_json:
        click.echo(json.dumps({**done, **_summary(comparison), "unknown_pruners": unknown}, indent=1))
        return
    differing = [
        f"{key} from {where} differs from ours: {verdict}" for key, where in comparison.conflicts.items()
    ]
    disputed = [f"{key} differs between {where}: left out" for key, where in comparison.contested.items()]
    for lines in (comparison.refused, differing, disputed):
        _say(lines)
    if unknown:
        names = ", ".join(f"{name} ({count})" for name, count in unknown.items())
        click.echo(f"note: of pruners that are not installed here: {names}", err=True)
    others = {what: count for what, count in _counts(comparison).items() if count}
    click.echo(", ".join(f"{count} {_words(what)}" for what, count in {**done, **others}.items()))


def _words(name: str) -> str:
    return name.replace("_", " ")


def _say(lines: Sequence[str]) -> None:
    for line in lines[:_SHOWN]:
        click.echo(printable(line), err=True)
    if len(lines) > _SHOWN:
        click.echo(f"... and {len(lines) - _SHOWN} more; --json has all", err=True)


def _summary(comparison: Comparison) -> dict[str, Any]:
    return {**vars(comparison), "counts": _counts(comparison)}


def _counts(comparison: Comparison) -> dict[str, int]:
    return {
        "already here": len(comparison.same),
        "in conflict": len(comparison.conflicts),
        "contested": len(comparison.contested),
        "refused": len(comparison.refused),
    }
