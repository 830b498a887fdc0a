"""`synflow-bench data`: which data sets are here, and how to get the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli._tables import print_table
from synflow_bench.cli.options import data_option
from synflow_bench.data import Dataset, download_command
from synflow_bench.errors import DataError, PluginError
from synflow_bench.host import Host


@dataclass(frozen=True)
class Row:
    """What a data set declares, and whether it is here; `remedy` is what to do where it is not."""

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    sizes: tuple[int, int]
    present: bool
    remedy: str | None


@click.group("data")
def command() -> None:
    """Say which data sets are here, and fetch the others."""


@command.command("list")
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, data: Path, as_json: bool) -> None:
    """List what the data sets are and whether they are here."""
    rows = list(_rows(load_host(ctx), data))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        _print(rows, data)


@command.command("download")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@data_option
@click.pass_context
def download(ctx: click.Context, names: tuple[str, ...], data: Path) -> None:
    """Fetch the data sets that are not here yet.

    Each is read once, to see that it is whole. One that cannot be had does not stop the others; the exit code
    is then 1.
    """
    host = load_host(ctx)
    datasets = {name: _dataset(host, name) for name in names}
    fetched = [_fetched(name, dataset, data) for name, dataset in datasets.items()]
    if not all(fetched):
        raise click.exceptions.Exit(1)


def _rows(host: Host, root: Path) -> Iterator[Row]:
    for name in host.datasets.names():
        try:
            dataset = _dataset(host, name)
        except PluginError as error:
            click.echo(f"warning: {error}", err=True)
            continue
        present = dataset.present(root)
        remedy = None if present else dataset.by_hand(root) or download_command(root, name)
        yield Row(name, dataset.input_shape, dataset.num_classes, dataset.sizes, present, remedy)


def _dataset(host: Host, name: str) -> Dataset:
    dataset: Dataset = host.datasets.get(name)()
    return dataset


def _fetched(name: str, dataset: Dataset, root: Path) -> bool:
    if not dataset.present(root) and dataset.by_hand(root) is None:
        click.echo(f"{name}: downloading to {root}")
    try:
        splits = dataset.load(root, download=True)
    except DataError as error:
        click.echo(f"error: {error}", err=True)
        return False
    click.echo(f"{name}: here, {len(splits.train)} training and {len(splits.test)} test images")
    return True


def _print(rows: list[Row], root: Path) -> None:
    print_table(["data set", "shape", "classes", "train", "test", "here"], [_cells(row) for row in rows])
    downloads = [row.name for row in rows if row.remedy == download_command(root, row.name)]
    for row in rows:
        if row.remedy and row.name not in downloads:
            click.echo(f"\n{row.name}: {row.remedy}")
    if downloads:
        click.echo(f"\nnot in {root}; to fetch: {download_command(root, *downloads)}")


def _cells(row: Row) -> list[str]:
    shape = "x".join(map(str, row.input_shape))
    return [row.name, shape, str(row.num_classes), *map(str, row.sizes), "yes" if row.present else "no"]
