"""`synflow-bench leaderboard`: from recorded cells to a table, a file, a site, or a check of a file."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.leaderboard_request import AXES, CHARTS, MARGIN_POINTS, LeaderboardRequest
from synflow_bench.cli.options import data_option, plugin_option, refuse, results_option
from synflow_bench.cli.output import prints_to_stderr, say, warn, wrapped
from synflow_bench.errors import RecordError, UsageError, printable
from synflow_bench.files import write_atomically
from synflow_bench.host import Host
from synflow_bench.leaderboard import (
    CLAIM_FORMS,
    EXPLANATIONS,
    FORMATS,
    Leaderboard,
    explain,
    format_of,
    print_boards,
    print_claims,
)
from synflow_bench.records import Store
from synflow_bench.suites import Tuning, read_tuning

_QUOTED = 60
"""Characters of a differing line that are quoted."""
_ALL_TERMS = ""
_CHOICE = {"--dataset", "--model", "--pruner"}
_NEEDS = {
    "--force": ("--output", "--chart"),
    **dict.fromkeys(("--axis", "--kind", "--budget", "--at"), ("--chart",)),
}
"""Option -> the options of which it needs one."""
_ALONE: dict[str, tuple[str, set[str]]] = {
    "--explain": ("reads no records", {"--format"}),
    "--claims": (
        "lists published numbers",
        {*_CHOICE, "--format", "--output", "--force", "--check", "--details", "--margin"},
    ),
    "--check": (
        "writes nothing",
        {
            *_CHOICE,
            "--format",
            "--per-seed",
            "--details",
            "--baseline",
            "--margin",
            "--columns",
            "--published",
            "--claims",
            "--tune",
        },
    ),
    "--chart": (
        "draws only the boards",
        {*_CHOICE, "--kind", "--axis", "--budget", "--at", "--tune", "--force"},
    ),
}
"""Option -> the reason why it stands nearly alone, and the options beside which it may stand."""


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for each in text.split(",") if (name := each.strip())))
    if text and not names:
        raise UsageError(f"--columns {text!r} names no column; write for example --columns 10,rank,AUC")
    return names


@click.command("leaderboard")
@results_option
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS]),
    help="By default what the suffix of the file says, or a table; parquet holds the raw records.",
)
@click.option(
    "--output",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Write to a file; html writes a folder of pages, unless PATH ends in .html.",
)
@click.option("--details", is_flag=True, help="Print all compressions, costs, layers and definitions.")
@click.option("--per-seed", is_flag=True, help="One line per seed, with --format csv.")
@click.option(
    "--chart",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw accuracy against compression to FILE: .svg, .pdf, .png or .html.",
)
@click.option(
    "--kind",
    type=click.Choice(CHARTS),
    help="What --chart draws instead: accuracy against cost; ranks of a board with their ranges; over "
    "settings, performance profiles or critical differences.",
)
@click.option("--axis", type=click.Choice(AXES), help="The compression against which --chart draws accuracy.")
@click.option(
    "--budget",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="Draw only what costs at most N dense trainings.",
)
@click.option(
    "--at",
    metavar="C",
    type=click.FloatRange(min=1),
    help="The compression of --kind cost, by default the middle one.",
)
@click.option("--force", is_flag=True, help="Write over an existing PATH or FILE.")
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write nothing; exit with 1 if the records give another FILE.",
)
@click.option("--dataset", "datasets", metavar="D", multiple=True, help="Only this dataset; repeatable.")
@click.option("--model", "models", metavar="M", multiple=True, help="Only this model; repeatable.")
@click.option("--pruner", "pruners", metavar="P", multiple=True, help="Only this pruner or row; repeatable.")
@click.option("--baseline", metavar="P", help="Add paired differences from this pruner, row or dense.")
@click.option(
    "--margin",
    metavar="POINTS",
    type=click.FloatRange(min=0, max=100),
    default=MARGIN_POINTS,
    show_default=True,
    help="Rows count as equivalent to the best within this many percentage points.",
)
@click.option(
    "--columns",
    metavar="LIST",
    default="",
    callback=lambda _context, _option, value: _names(value),
    help="Only these columns, separated by commas: compressions, rank, AUC and others; without details.",
)
@click.option(
    "--published", is_flag=True, help="Add published accuracies; all of them where there are no records."
)
@click.option(
    "--tune",
    "tuning",
    metavar="FIELD=V|V|...",
    callback=lambda _context, _option, value: None if value is None else read_tuning(value),
    help="Settings that differ only in these values, such as lr=0.001|0.01, share a board: every pruner has "
    "its best by validation accuracy.",
)
@click.option(
    "--claims",
    is_flag=True,
    help="Compare published numbers with the boards, with a verdict on each, instead of ranking pruners.",
)
@click.option(
    "--measure",
    "measured_seeds",
    metavar="[N]",
    is_flag=False,
    flag_value=1,
    type=click.IntRange(min=1),
    help="Add file size and speed without dead units, measured here on N seeds per row, by default 1.",
)
@data_option
@plugin_option
@click.option(
    "--explain",
    "term",
    metavar="[NAME]",
    is_flag=False,
    flag_value=_ALL_TERMS,
    help="Print the definition of a number, or of all of them.",
)
@click.pass_context
def command(
    ctx: click.Context,
    results: Path,
    form: str | None,
    output: Path | None,
    details: bool,
    per_seed: bool,
    chart: Path | None,
    kind: str | None,
    axis: str | None,
    budget: float | None,
    at: float | None,
    force: bool,
    check: Path | None,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    pruners: tuple[str, ...],
    baseline: str | None,
    margin: float,
    columns: tuple[str, ...],
    published: bool,
    claims: bool,
    tuning: Tuning | None,
    measured_seeds: int | None,
    data: Path,
    term: str | None,
) -> int:
    """Rank pruners: accuracy against compression, over seeds.

    Reads records only; equal records give equal bytes, so that a committed leaderboard can be checked.
    --measure also makes networks from kept or repeated masks and measures them; it trains nothing, and
    keeps what it has measured in the results folder.

    Exit code 0: done; 1: records cannot be read, give another leaderboard, or cannot be measured; 2: usage
    error.
    """
    given = {
        "--format": form,
        "--output": output,
        "--details": details,
        "--per-seed": per_seed,
        "--chart": chart,
        "--kind": kind,
        "--axis": axis,
        "--budget": budget,
        "--at": at,
        "--force": force,
        "--check": check,
        "--dataset": datasets,
        "--model": models,
        "--pruner": pruners,
        "--baseline": baseline,
        "--margin": margin != MARGIN_POINTS,
        "--columns": columns,
        "--published": published,
        "--claims": claims,
        "--tune": tuning,
        "--measure": measured_seeds,
        "--explain": term is not None,
    }
    _check_options({option for option, value in given.items() if value})
    if not measured_seeds:
        refuse(ctx, ["data", "plugin"], "only --measure makes networks")
    if term is not None:
        _explain(term, form)
        return 0
    file = output or check
    chosen = form or ("table" if chart or not file else format_of(file))
    raw = FORMATS[chosen].of_records
    _refuse(
        (raw and check, f"--check compares text; the bytes of {chosen} depend on the library that writes it"),
        (
            raw and (baseline or published or columns or margin != MARGIN_POINTS),
            f"{chosen} holds raw records; leave out --baseline, --margin, --columns and --published",
        ),
        (
            chosen == "html" and not (file or chart) and sys.stdout.isatty(),
            "html is a page for a browser; name a file, such as board.html, with --output",
        ),
        (
            claims and chosen not in CLAIM_FORMS,
            f"published numbers have no format {chosen}; use one of {', '.join(CLAIM_FORMS)}",
        ),
        (raw and not output, f"{chosen} is not text; name a file with --output"),
        (raw and tuning, f"{chosen} holds raw records; leave out --tune"),
        (
            measured_seeds and tuning,
            "--measure takes networks of one recipe; leave out --tune, or --measure",
        ),
        (
            measured_seeds and (raw or per_seed or columns),
            "--measure adds a table to boards; leave out --columns, --per-seed and raw formats",
        ),
        (
            details and (file or chosen != "table"),
            "--details is for the table in a terminal; files have all details; leave it out",
        ),
        (
            columns and not FORMATS[chosen].has_columns,
            f"--columns chooses columns of tables, and {chosen} has all numbers; leave it out",
        ),
        (
            per_seed and not FORMATS[chosen].per_seed,
            f"{chosen} has no lines per seed; add --format csv, or leave out --per-seed",
        ),
    )
    request = LeaderboardRequest(
        *(results, chosen, datasets, models, pruners, baseline, margin, columns),
        *(published, per_seed, claims, tuning),
    )
    if measured_seeds:
        host = load_host(ctx, check=False)
        request = replace(request, measure=_measurer(host, request, data, measured_seeds))
    try:
        if chart:
            _refuse_existing(chart, force)
            _report(chart, request.chart(chart, kind or CHARTS[0], axis or AXES[0], budget, at))
        elif check:
            _check(request, check)
        elif output and _is_site(chosen, output) and not claims:
            files = request.site(output, force=force)
            click.echo(f"wrote {files} files; open {str(output / 'index.html')!r}", err=True)
        elif output:
            _refuse_existing(output, force)
            _report(output, request.content())
        else:
            _print(request, details)
    finally:
        code = warn(request.unreadable)
    return code


def _measurer(
    host: Host, request: LeaderboardRequest, data: Path, seeds: int
) -> Callable[[Leaderboard], Leaderboard]:
    """Return the function that adds measured numbers; rows without them are named among the unreadable."""

    def measure(leaderboard: Leaderboard) -> Leaderboard:
        with prints_to_stderr():
            from synflow_bench.measuring import Measuring
            from synflow_bench.recovery import Recovery

            recovery = Recovery(host, Store(request.results), data, may_train=False)
            measuring = Measuring(recovery, seeds, lambda line: click.echo(printable(line), err=True))
            found = measuring.measure(leaderboard)
        request.unreadable.extend(measuring.problems)
        return found

    return measure


def _check_options(given: set[str]) -> None:
    """Refuse options that have no effect beside each other."""
    for option, needed in _NEEDS.items():
        if option in given and not given & set(needed):
            raise UsageError(f"{option} has no effect without {' or '.join(needed)}; leave it out")
    for option, (reason, fellows) in _ALONE.items():
        others = given - {option} - fellows
        if option in given and others:
            raise UsageError(f"{option} {reason}; leave out {', '.join(sorted(others))}")


def _refuse(*reasons: tuple[object, str]) -> None:
    """Raise the first message whose condition holds."""
    for holds, message in reasons:
        if holds:
            raise UsageError(message)


def _explain(term: str, form: str | None) -> None:
    if form not in {None, "table", "json"}:
        raise UsageError("--explain reads no records; with it only --format json has an effect")
    terms = EXPLANATIONS if term == _ALL_TERMS else {term: explain(term)}
    if form == "json":
        click.echo(json.dumps(terms, indent=1, ensure_ascii=False))
        return
    for name, meaning in terms.items():
        click.echo(wrapped(f"{name}: {meaning}", later="    "))


def _print(request: LeaderboardRequest, details: bool) -> None:
    if request.form != "table":
        click.echo(request.content().decode(), nl=False)
        return
    if request.claims:
        print_claims(request.claim_checks(), details=details)
        return
    print_boards(request.leaderboard(), details=details)


def _is_site(form: str, path: Path) -> bool:
    return form == "html" and path.suffix.lower() not in {".html", ".htm"}


def _refuse_existing(file: Path, force: bool) -> None:
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder; name a file, or write html, which fills a folder")
    if file.exists() and not force:
        raise UsageError(f"{str(file)!r} exists; add --force to overwrite it")


def _report(file: Path, content: bytes) -> None:
    write_atomically(file, content)
    click.echo(f"wrote {str(file)!r}", err=True)


def _check(request: LeaderboardRequest, file: Path) -> None:
    if _is_site(request.form, file) or file.is_dir():
        raise UsageError(
            f"--check compares one file, and {str(file)!r} as {request.form} is a folder; check another"
        )
    try:
        found = file.read_bytes().decode("utf-8", errors="replace")
    except FileNotFoundError as error:
        raise UsageError(f"{str(file)!r} is not there; --output writes it") from error
    except OSError as error:
        raise RecordError(f"cannot read {str(file)!r}: {error.strerror or error}") from error
    fresh = request.content().decode()
    difference = _difference(found, fresh)
    if not difference:
        return
    if _begins_like(found, fresh):
        click.echo(f"{str(file)!r} is stale: {difference}; regenerate: {request.command(file)}", err=True)
    else:
        say(f"{str(file)!r} is no leaderboard as {request.form}: {difference}")
    raise click.exceptions.Exit(1)


def _begins_like(found: str, fresh: str) -> bool:
    """Return True if two texts have the same first words, up to a colon, or as pages the same title."""
    title = re.search(r"<title>.*?</title>", fresh)
    if title:
        return title[0] in found
    words = re.match(r"\W*[^:\n]*", fresh)
    return words is not None and found.replace("\r\n", "\n").startswith(words[0])


def _difference(found: str, fresh: str) -> str | None:
    """Return the first difference between two texts in words, None where there is none."""
    lines = zip_longest(found.split("\n"), fresh.split("\n"))
    differing = ((n, old, new) for n, (old, new) in enumerate(lines, start=1) if old != new)
    return next(
        (f"line {n} has {_quoted(old)}, the records give {_quoted(new)}" for n, old, new in differing), None
    )


def _quoted(line: str | None) -> str:
    if line is None:
        return "no more"
    return repr(line if len(line) <= _QUOTED else f"{line[:_QUOTED]}...")
