"""`synflow-bench leaderboard`: from recorded cells to a table, a page, or a verdict on a committed one."""

from __future__ import annotations

import json
from itertools import zip_longest
from pathlib import Path

import click

from synflow_bench.cli._leaderboard import Choice, Request
from synflow_bench.cli.options import results_option
from synflow_bench.errors import RecordError, UsageError
from synflow_bench.leaderboard import (
    EXPLANATIONS,
    FORMATS,
    RECORD_FORMATS,
    explain,
    format_of,
    print_boards,
)
from synflow_bench.records import write_atomically

AXES = ("compression", "effective")
_SHOWN = 60
"""Characters of a differing line that are quoted."""
_ALL_TERMS = ""


@click.command("leaderboard")
@results_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, *RECORD_FORMATS]),
    help="By default what the suffix of FILE says, a table without one; parquet has the raw records.",
)
@click.option(
    "--output",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Write to a file; html to a folder of pages, unless PATH ends in .html.",
)
@click.option(
    "--chart",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw accuracy against compression to FILE: .svg, .pdf, .png or .html.",
)
@click.option("--axis", type=click.Choice(AXES), help="What --chart draws accuracy against.")
@click.option("--force", is_flag=True, help="Write over what PATH or FILE holds.")
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write nothing; exit with 1 if FILE is not what the records give.",
)
@click.option("--dataset", "datasets", metavar="D", multiple=True, help="Only this data set; repeatable.")
@click.option("--model", "models", metavar="M", multiple=True, help="Only this model; repeatable.")
@click.option("--pruner", "pruners", metavar="P", multiple=True, help="Only this pruner or row; repeatable.")
@click.option("--baseline", metavar="P", help="Add paired differences from this pruner, row or dense.")
@click.option(
    "--published", is_flag=True, help="Add published accuracies; all of them where there are no records."
)
@click.option(
    "--explain",
    "term",
    metavar="[NAME]",
    is_flag=False,
    flag_value=_ALL_TERMS,
    help="Say how a number is defined, or all of them.",
)
def command(
    results: Path,
    form: str | None,
    output: Path | None,
    chart: Path | None,
    axis: str | None,
    force: bool,
    check: Path | None,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    pruners: tuple[str, ...],
    baseline: str | None,
    published: bool,
    term: str | None,
) -> None:
    """Rank the recorded pruners: accuracy against compression, with intervals over seeds.

    Reads records alone; equal records give equal bytes, so that a committed leaderboard can be checked.
    """
    _refuse_without_effect(output or chart, force, check)
    _refuse_beside_chart(chart, axis, any((form, output, baseline, published)))
    if term is not None:
        _explain(term, form, any((output, check, chart, baseline, published, datasets, models, pruners)))
        return
    if chart:
        _draw(Request(results, "table", Choice(datasets, models, pruners)), chart, axis, force)
        return
    file = output or check
    chosen = form or (format_of(file) if file else "table")
    _refuse_raw(chosen, output, check, baseline, published)
    request = Request(results, chosen, Choice(datasets, models, pruners), baseline, published)
    if check:
        _check(request, check)
    elif output:
        _write(request, output, force)
    else:
        _print(request)


def _refuse_without_effect(output: Path | None, force: bool, check: Path | None) -> None:
    if check and output:
        raise UsageError("--check writes nothing, so --output has no effect with it; leave one out")
    if force and not output:
        raise UsageError("--force has no effect without --output; leave it out")


def _refuse_beside_chart(chart: Path | None, axis: str | None, others: bool) -> None:
    if axis and not chart:
        raise UsageError("--axis has no effect without --chart; leave it out")
    if chart and others:
        raise UsageError(
            "--chart draws the boards alone; leave out --format, --output, --baseline and --published"
        )


def _refuse_raw(
    form: str, output: Path | None, check: Path | None, baseline: str | None, published: bool
) -> None:
    if form not in RECORD_FORMATS:
        return
    if check:
        raise UsageError(f"--check compares text; the bytes of {form} depend on the library that writes it")
    if baseline or published:
        raise UsageError(f"{form} holds raw records, so leave out --baseline and --published")
    if not output:
        raise UsageError(f"{form} is no text; name a file with --output")


def _explain(term: str, form: str | None, others: bool) -> None:
    if others or form not in {None, "table", "json"}:
        raise UsageError("--explain reads no records; with it only --format json has an effect")
    terms = EXPLANATIONS if term == _ALL_TERMS else {term: explain(term)}
    if form == "json":
        click.echo(json.dumps(terms, indent=1, ensure_ascii=False))
        return
    for name, meaning in terms.items():
        click.echo(click.wrap_text(f"{name}: {meaning}", 100, subsequent_indent="    "))


def _print(request: Request) -> None:
    if request.form != "table":
        click.echo(request.content().decode(), nl=False)
        return
    from rich.console import Console

    print_boards(request.page(), Console())


def _write(request: Request, output: Path, force: bool) -> None:
    if _is_site(request.form, output):
        pages = request.site(output, force=force)
        click.echo(f"{pages} files; open {str(output / 'index.html')!r}", err=True)
        return
    _refuse_existing(output, force)
    write_atomically(output, request.content())


def _is_site(form: str, path: Path) -> bool:
    return form == "html" and path.suffix.lower() not in {".html", ".htm"}


def _refuse_existing(file: Path, force: bool) -> None:
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder; name a file, or write html, which fills a folder")
    if file.exists() and not force:
        raise UsageError(f"{str(file)!r} exists; add --force to write over it")


def _draw(request: Request, file: Path, axis: str | None, force: bool) -> None:
    _refuse_existing(file, force)
    write_atomically(file, request.chart(file, axis or AXES[0]))


def _check(request: Request, file: Path) -> None:
    if _is_site(request.form, file) or file.is_dir():
        raise UsageError(f"--check compares one file, and {str(file)!r} is a folder; check another format")
    fresh = request.content().decode()
    difference = _difference(file, fresh)
    if difference:
        click.echo(f"{str(file)!r} is stale: {difference}; regenerate: {request.command(file)}", err=True)
        raise click.exceptions.Exit(1)


def _difference(file: Path, fresh: str) -> str | None:
    """The first difference between the file and `fresh`, in words; None where there is none."""
    try:
        found = file.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        raise RecordError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
    lines = zip_longest(found.split("\n"), fresh.split("\n"))
    differing = ((n, old, new) for n, (old, new) in enumerate(lines, start=1) if old != new)
    return next(
        (f"line {n} has {_quoted(old)}, the records give {_quoted(new)}" for n, old, new in differing), None
    )


def _quoted(line: str | None) -> str:
    if line is None:
        return "no more"
    return repr(line if len(line) <= _SHOWN else f"{line[:_SHOWN]}...")
