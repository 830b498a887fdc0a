"""`synflow-bench leaderboard`: from recorded cells to a table, a page, or a verdict on a committed one."""

from __future__ import annotations

import gc
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import click

from synflow_bench.cli.options import results_option
from synflow_bench.errors import RecordError, UsageError
from synflow_bench.leaderboard import FORMATS, Board, build_boards, choose, format_of, print_boards, render
from synflow_bench.records import Store, write_atomically

_SHOWN = 60
"""Characters of a differing line that are quoted."""


@dataclass(frozen=True)
class Choice:
    """Which records a leaderboard is made of."""

    datasets: Sequence[str] = ()
    models: Sequence[str] = ()
    pruners: Sequence[str] = ()


@dataclass(frozen=True)
class Request:
    """A leaderboard that was asked for."""

    results: Path
    form: str
    choice: Choice = field(default_factory=Choice)

    def boards(self) -> list[Board]:
        """The boards; an empty results folder is a `RecordError`."""
        with _no_collection():
            records = list(Store(self.results))
        if not records:
            raise RecordError(
                f"no records in {str(self.results)!r}; make some with `synflow-bench run --all`, "
                "or name their folder with --results"
            )
        choice = self.choice
        chosen = choose(records, datasets=choice.datasets, models=choice.models, pruners=choice.pruners)
        return build_boards(chosen)

    def command(self, output: Path) -> str:
        """The command line that writes this leaderboard to `output`."""
        choice = self.choice
        repeated = {"--dataset": choice.datasets, "--model": choice.models, "--pruner": choice.pruners}
        words = ["synflow-bench", "leaderboard", "--results", str(self.results), "--format", self.form]
        words += [word for option, names in repeated.items() for name in names for word in (option, name)]
        return shlex.join([*words, "--output", str(output), "--force"])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the cyclic collector: it would walk all records again and again, a third of the reading time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@click.command("leaderboard")
@results_option
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS)),
    help="The format; by default what the suffix of FILE says, a table without one.",
)
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write to FILE."
)
@click.option("--force", is_flag=True, help="Write over an existing FILE.")
@click.option(
    "--check",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write nothing; exit with 1 if FILE is not what the records give.",
)
@click.option("--dataset", "datasets", metavar="D", multiple=True, help="Only this data set; repeatable.")
@click.option("--model", "models", metavar="M", multiple=True, help="Only this model; repeatable.")
@click.option("--pruner", "pruners", metavar="P", multiple=True, help="Only this pruner or row; repeatable.")
def command(
    results: Path,
    form: str | None,
    output: Path | None,
    force: bool,
    check: Path | None,
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    pruners: tuple[str, ...],
) -> None:
    """Rank the recorded pruners: accuracy against compression, with intervals over seeds.

    Reads records alone; equal records give equal bytes, so that a committed leaderboard can be checked.
    """
    _refuse_without_effect(output, force, check)
    file = output or check
    chosen = form or (format_of(file) if file else "table")
    request = Request(results, chosen, Choice(datasets, models, pruners))
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


def _print(request: Request) -> None:
    if request.form != "table":
        click.echo(render(request.boards(), request.form), nl=False)
        return
    from rich.console import Console

    print_boards(request.boards(), Console())


def _write(request: Request, output: Path, force: bool) -> None:
    if output.exists() and not force:
        raise UsageError(f"{str(output)!r} exists; add --force to write over it")
    write_atomically(output, render(request.boards(), request.form))


def _check(request: Request, file: Path) -> None:
    fresh = render(request.boards(), request.form)
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
