"""`synflow-bench leaderboard`: from recorded cells to a table, a file, a site, or a check of a file."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import click

from synflow_bench.cli.options import results_option
from synflow_bench.errors import RecordError, UsageError
from synflow_bench.files import write_atomically
from synflow_bench.leaderboard import (
    EXPLANATIONS,
    FORMATS,
    Leaderboard,
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


@dataclass(frozen=True)
class LeaderboardRequest:
    """The leaderboard that a command line asks for."""

    results: Path
    form: str = "table"
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    pruners: tuple[str, ...] = ()
    baseline: str | None = None
    published: bool = False
    per_seed: bool = False

    def leaderboard(self, found: list[Result] | None = None) -> Leaderboard:
        """Build the boards from all results of the folder, which are read unless they are given."""
        return read_leaderboard(
            self.results, **self._choice(), baseline=self.baseline, published=self.published, found=found
        )

    def content(self) -> bytes:
        """Return the content of the file."""
        if not FORMATS[self.form].of_records:
            return render(self.leaderboard(), self.form, per_seed=self.per_seed).encode()
        records = choose(Store(self.results), **self._choice())
        if not records:
            raise no_records(self.results)
        content: bytes = FORMATS[self.form].load()(records)
        return content

    def site(self, output: Path, *, force: bool) -> int:
        """Write the site to the folder `output` and return the number of its files."""
        from synflow_bench.site import check_folder, write_site

        check_folder(output, force)
        store = Store(self.results)
        found = store.results()
        leaderboard = self.leaderboard(found)
        results = choose(found, **self._choice()) if found else []
        keys = {result.key for result in results}
        records = (read_record(path) for path in store.paths() if path.stem in keys)
        return write_site(output, leaderboard, results, records, force=force)

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
        words += ["--published"] * self.published + ["--per-seed"] * self.per_seed
        return shlex.join([*words, "--output", str(output), "--force"])

    def _choice(self) -> dict[str, tuple[str, ...]]:
        return {"datasets": self.datasets, "models": self.models, "pruners": self.pruners}


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
    published: bool,
    term: str | None,
) -> None:
    """Rank pruners: accuracy against compression, over seeds.

    Reads records only; equal records give equal bytes, so that a committed leaderboard can be checked.
    """
    if term is not None:
        choice = (
            output,
            check,
            chart,
            axis,
            baseline,
            published,
            datasets,
            models,
            pruners,
            details,
            per_seed,
        )
        _explain(term, form, any(choice))
        return
    _refuse(
        (check and (output or chart), "--check writes nothing; leave out --output and --chart, or --check"),
        (force and not (output or chart), "--force has no effect without --output or --chart; leave it out"),
        (axis and not chart, "--axis has no effect without --chart; leave it out"),
        (
            chart and any((form, output, baseline, published, details, per_seed)),
            "--chart draws only the boards; leave out --format, --output, --baseline, --published, --details "
            "and --per-seed",
        ),
    )
    file = output or check
    chosen = form or ("table" if chart or not file else format_of(file))
    raw = FORMATS[chosen].of_records
    _refuse(
        (raw and check, f"--check compares text; the bytes of {chosen} depend on the library that writes it"),
        (
            raw and (baseline or published),
            f"{chosen} holds raw records; leave out --baseline and --published",
        ),
        (raw and not output, f"{chosen} is not text; name a file with --output"),
        (
            details and (file or chosen != "table"),
            "--details is for the table in a terminal; files have all details; leave it out",
        ),
        (
            per_seed and not FORMATS[chosen].per_seed,
            f"{chosen} has no lines per seed; add --format csv, or leave out --per-seed",
        ),
    )
    request = LeaderboardRequest(results, chosen, datasets, models, pruners, baseline, published, per_seed)
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


def _refuse(*reasons: tuple[object, str]) -> None:
    """Raise the first message whose condition holds."""
    for holds, message in reasons:
        if holds:
            raise UsageError(message)


def _explain(term: str, form: str | None, others: bool) -> None:
    if others or form not in {None, "table", "json"}:
        raise UsageError("--explain reads no records; with it only --format json has an effect")
    terms = EXPLANATIONS if term == _ALL_TERMS else {term: explain(term)}
    if form == "json":
        click.echo(json.dumps(terms, indent=1, ensure_ascii=False))
        return
    for name, meaning in terms.items():
        click.echo(click.wrap_text(f"{name}: {meaning}", 100, subsequent_indent="    "))


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
