"""`synflow-bench data`: list and download datasets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import data_option, json_option
from synflow_bench.cli.output import print_table
from synflow_bench.data import Dataset, download_command
from synflow_bench.errors import DataError, PluginError
from synflow_bench.host import Host


@dataclass(frozen=True)
class DatasetStatus:
    """A dataset as it declares itself, and its files.

    Attributes:
        name: The name.
        input_shape: The shape (C, H, W) of an image.
        num_classes: The number of classes.
        sizes: The numbers of training and test images.
        present: True if its files are in the data folder.
        remedy: The way to get the files if they are not.
    """

    name: str
    input_shape: tuple[int, int, int]
    num_classes: int
    sizes: tuple[int, int]
    present: bool
    remedy: str | None


@click.group("data")
def command() -> None:
    """List and download datasets."""


@command.command("list")
@data_option
@json_option("Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, data: Path, as_json: bool) -> None:
    """List the datasets, with their sizes, and say which are present."""
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
    """Download datasets that are not present, and check them.

    Each dataset NAME is read once to check that it is complete. If one fails, the others are still
    downloaded.

    Exit code 0: all are present; 1: some failed; 2: usage error.
    """
    host = load_host(ctx)
    datasets = {name: _dataset(host, name) for name in names}
    downloaded = [_downloaded(name, dataset, data) for name, dataset in datasets.items()]
    if not all(downloaded):
        raise click.exceptions.Exit(1)


def _rows(host: Host, root: Path) -> Iterator[DatasetStatus]:
    for name in host.datasets.names():
        try:
            dataset = _dataset(host, name)
        except PluginError as error:
            click.echo(f"warning: {error}", err=True)
            continue
        present = dataset.present(root)
        remedy = None if present else dataset.by_hand(root) or download_command(root, name)
        yield DatasetStatus(name, dataset.input_shape, dataset.num_classes, dataset.sizes, present, remedy)


def _dataset(host: Host, name: str) -> Dataset:
    dataset: Dataset = host.datasets.get(name)()
    return dataset


def _downloaded(name: str, dataset: Dataset, root: Path) -> bool:
    if not dataset.present(root) and dataset.by_hand(root) is None:
        click.echo(f"{name}: downloading to {root}")
    try:
        splits = dataset.load(root, download=True)
    except DataError as error:
        click.echo(f"error: {error}", err=True)
        return False
    click.echo(f"{name}: present, {len(splits.train)} training and {len(splits.test)} test images")
    return True


def _print(rows: list[DatasetStatus], root: Path) -> None:
    print_table(["dataset", "shape", "classes", "train", "test", "present"], [_cells(row) for row in rows])
    downloads = [row.name for row in rows if row.remedy == download_command(root, row.name)]
    for row in rows:
        if row.remedy and row.name not in downloads:
            click.echo(f"\n{row.name}: {row.remedy}")
    if downloads:
        click.echo(f"\nnot in {root}; to download: {download_command(root, *downloads)}")


def _cells(row: DatasetStatus) -> list[str]:
    shape = "x".join(map(str, row.input_shape))
    return [row.name, shape, str(row.num_classes), *map(str, row.sizes), "yes" if row.present else "no"]
