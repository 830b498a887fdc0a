"""`synflow-bench leaderboard`: from recorded cells to a table, a file, a site, or a check of a file."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import click

from synflow_bench.cli.options import results_option
from synflow_bench.cli.output import none_left, warn, wrapped
from synflow_bench.errors import RecordError, UsageError
from synflow_bench.files import write_atomically
from synflow_bench.leaderboard import (
    EXPLANATIONS,
    FORMATS,
    MARGIN,
    Leaderboard,
    check_columns,
    choose,
    explain,
    format_of,
    no_records,
    print_boards,
    read_leaderboard,
    render,
)
from synflow_bench.records import Result, Store, read_record

AXES = ("compression", "effective")
_QUOTED = 60
"""Characters of a differing line that are quoted."""
_ALL_TERMS = ""
_MARGIN = 100 * MARGIN
_CHOICE = {"--dataset", "--model", "--pruner"}
_NEEDS = {"--force": ("--output", "--chart"), "--axis": ("--chart",)}
"""Option -> the options of which it needs one."""
_ALONE: dict[str, tuple[str, set[str]]] = {
    "--explain": ("reads no records", {"--format"}),
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
        },
    ),
    "--chart": ("draws only the boards", {*_CHOICE, "--axis", "--force"}),
}
"""Option -> the reason why it stands nearly alone, and the options beside which it may stand."""


@dataclass(frozen=True)
class LeaderboardRequest:
    """The leaderboard that a command line asks for; `margin` is in percentage points."""

    results: Path
    form: str = "table"
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    pruners: tuple[str, ...] = ()
    baseline: str | None = None
    margin: float = _MARGIN
    columns: tuple[str, ...] = ()
    published: bool = False
    per_seed: bool = False

    unreadable: list[str] = field(default_factory=list)
    """One line for each record that could not be read."""

    @cached_property
    def found(self) -> list[Result]:
        """All valid results of the folder; a site needs the whole records."""
        found = Store(self.results).results(self.unreadable, in_full=self.form == "html")
        if not found and self.unreadable:
            lines = [*self.unreadable]
            self.unreadable.clear()
            raise none_left(lines)
        return found

    def leaderboard(self) -> Leaderboard:
        """Build the boards from all results of the folder."""
        leaderboard = read_leaderboard(
            self.results,
            **self._choice(),
            baseline=self.baseline,
            margin=self.margin / 100,
            published=self.published,
            found=self.found,
        )
        check_columns(leaderboard, self.columns)
        return replace(leaderboard, columns=self.columns)

    def content(self) -> bytes:
        """Return the content of the file."""
        if not FORMATS[self.form].of_records:
            return render(self.leaderboard(), self.form, per_seed=self.per_seed).encode()
        records = choose(Store(self.results).read_all(self.unreadable), **self._choice())
        if not records:
            raise no_records(self.results)
        content: bytes = FORMATS[self.form].load()(records)
        return content

    def site(self, output: Path, *, force: bool) -> int:
        """Write the site to the folder `output` and return the number of its files."""
        from synflow_bench.host import Host, description_of
        from synflow_bench.site import check_folder, write_site

        check_folder(output, force)
        store = Store(self.results)
        leaderboard = self.leaderboard()
        results = choose(self.found, **self._choice()) if self.found else []
        keys = {result.key for result in results}
        records = (read_record(path) for path in store.paths([]) if path.stem in keys)
        # A plugin that cannot be used takes nothing from boards of records but its description.
        pruners = Host.load(report=lambda _: None).pruners
        methods = {entry.name: description_of(entry) for entry in pruners.entries()}
        return write_site(output, leaderboard, results, records, methods=methods, force=force)

    def chart(self, file: Path, axis: str) -> bytes:
        """Return the chart of accuracy against `axis`, as the suffix of `file` says."""
        from synflow_bench.charts import chart_bytes, check_chart_path
        from synflow_bench.site import accuracy_figure

        check_chart_path(file)
        return chart_bytes(accuracy_figure(self.leaderboard(), axis), file)

    def command(self, output: Path) -> str:
        """Return the command line that writes this leaderboard to `output`."""
        words = ["synflow-bench", "leaderboard", "--results", str(self.results), "--format", self.form]
        words += [
            word
            for kind, names in self._choice().items()
            for name in names
            for word in (f"--{kind[:-1]}", name)
        ]
        words += ["--baseline", self.baseline] if self.baseline else []
        words += ["--margin", f"{self.margin:g}"] if self.margin != _MARGIN else []
        words += ["--columns", ",".join(self.columns)] if self.columns else []
        words += ["--published"] * self.published + ["--per-seed"] * self.per_seed
        return shlex.join([*words, "--output", str(output), "--force"])

    def _choice(self) -> dict[str, tuple[str, ...]]:
        return {"datasets": self.datasets, "models": self.models, "pruners": self.pruners}


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
@click.option("--axis", type=click.Choice(AXES), help="The compression against which --chart draws accuracy.")
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
    default=_MARGIN,
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
    "--explain",
    "term",
    metavar="[NAME]",
    is_flag=False,
    flag_value=_ALL_TERMS,
    help="Print the definition of a number, or of all of them.",
)
def command(
    results: Path,
    form: str | None,
    output: Path | None,
    details: bool,
    per_seed: bool,
    chart: Path | None,
    axis: str | None,
    force: bool,
    check: Path | None,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    pruners: tuple[str, ...],
    baseline: str | None,
    margin: float,
    columns: tuple[str, ...],
    published: bool,
    term: str | None,
) -> int:
    """Rank pruners: accuracy against compression, over seeds.

    Reads records only; equal records give equal bytes, so that a committed leaderboard can be checked.

    Exit code 0: done; 1: records cannot be read, or give another leaderboard; 2: usage error.
    """
    given = {
        "--format": form,
        "--output": output,
        "--details": details,
        "--per-seed": per_seed,
        "--chart": chart,
        "--axis": axis,
        "--force": force,
        "--check": check,
        "--dataset": datasets,
        "--model": models,
        "--pruner": pruners,
        "--baseline": baseline,
        "--margin": margin != _MARGIN,
        "--columns": columns,
        "--published": published,
        "--explain": term is not None,
    }
    _check_options({option for option, value in given.items() if value})
    if term is not None:
        _explain(term, form)
        return 0
    file = output or check
    chosen = form or ("table" if chart or not file else format_of(file))
    raw = FORMATS[chosen].of_records
    _refuse(
        (raw and check, f"--check compares text; the bytes of {chosen} depend on the library that writes it"),
        (
            raw and (baseline or published or columns or margin != _MARGIN),
            f"{chosen} holds raw records; leave out --baseline, --margin, --columns and --published",
        ),
        (raw and not output, f"{chosen} is not text; name a file with --output"),
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
        results, chosen, datasets, models, pruners, baseline, margin, columns, published, per_seed
    )
    try:
        if chart:
            _refuse_existing(chart, force)
            _report(chart, request.chart(chart, axis or AXES[0]))
        elif check:
            _check(request, check)
        elif output and _is_site(chosen, output):
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
    print_boards(request.leaderboard(), details=details)


def _is_site(form: str, path: Path) -> bool:
    return form == "html" and path.suffix.lower() not in {".html", ".htm"}


def _refuse_existing(file: Path, force: bool) -> None:
    if file.is_dir():
        raise UsageError(f"{str(file)!r} is a folder; name a file, or write html, which fills a folder")
    if file.exists() and not force:
        raise UsageError(f"{str(file)!r} exists; add --force to write over it")


def _report(file: Path, content: bytes) -> None:
    write_atomically(file, content)
    click.echo(f"wrote {str(file)!r}", err=True)


def _check(request: LeaderboardRequest, file: Path) -> None:
    if _is_site(request.form, file) or file.is_dir():
        raise UsageError(f"--check compares one file, and {str(file)!r} is a folder; check another format")
    difference = _difference(file, request.content().decode())
    if difference:
        click.echo(f"{str(file)!r} is stale: {difference}; regenerate: {request.command(file)}", err=True)
        raise click.exceptions.Exit(1)


def _difference(file: Path, fresh: str) -> str | None:
    """Return the first difference between the file and `fresh` in words, None where there is none."""
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
    return repr(line if len(line) <= _QUOTED else f"{line[:_QUOTED]}...")
