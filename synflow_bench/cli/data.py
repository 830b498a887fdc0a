"""`synflow-bench data`: list and download datasets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import data_option, json_option
from synflow_bench.cli.output import print_json, print_table, prints_to_stderr, say, warn, wrapped
from synflow_bench.data import Dataset, download_command, make_dataset
from synflow_bench.errors import DataError, HandledError, one_line, printable
from synflow_bench.host import Host
from synflow_bench.suites import label_of


@dataclass(frozen=True)
class DatasetStatus:
    """A dataset as it declares itself, and its files.

    Attributes:
        name: The name.
        input_shape: The shape (C, H, W) of an image; None if that depends on its options.
        num_classes: The number of classes.
        sizes: The numbers of training and test images.
        present: True if its files are in the data folder.
        remedy: The way to get the files if they are not.
        place: The places where files are found, if they must be files of the data folder.
    """

    name: str
    input_shape: tuple[int, ...] | None
    num_classes: int | None
    sizes: tuple[int, int] | None
    present: bool
    remedy: str | None
    place: str | None

    @property
    def as_json(self) -> dict[str, Any]:
        """The fields; `place` only if there is one."""
        fields = asdict(self)
        return fields if self.place else {name: fields[name] for name in fields if name != "place"}


@click.group("data")
def command() -> None:
    """List and download datasets."""


@command.command("list")
@data_option
@json_option("Print a JSON list.")
@click.pass_context
def list_(ctx: click.Context, data: Path, as_json: bool) -> None:
    """List the datasets, which are present, and where files must lie."""
    host = load_host(ctx)
    with prints_to_stderr():
        rows = list(_rows(host, data))
    if as_json:
        print_json([row.as_json for row in rows])
    else:
        _print(rows, data)


@command.command("download")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@data_option
@click.pass_context
def download(ctx: click.Context, names: tuple[str, ...], data: Path) -> None:
    """Download datasets that are not present, and check them.

    Each dataset NAME is read once to check that it is complete. If one fails, the others are still
    downloaded. A dataset with options, such as 'image-folder[path=DIR]', is measured and read.

    Exit code 0: all are present; 1: some failed; 2: usage error.
    """
    host = load_host(ctx)
    with prints_to_stderr():
        datasets = {name: host.dataset(name, data) for name in names}
    downloaded = [_downloaded(name, dataset, data) for name, dataset in datasets.items()]
    if not all(downloaded):
        raise click.exceptions.Exit(1)


def _rows(host: Host, root: Path) -> Iterator[DatasetStatus]:
    for name in host.datasets.names():
        title = host.datasets.entry(name).title
        try:
            dataset = make_dataset(host.datasets.get(name), {}, title)
            yield _status(name, dataset, root)
            yield from (_status(_spec(name, each), each, root) for each in dataset.known(root))
        except HandledError as error:
            warn([str(error)])
        except Exception as error:
            warn([f"{title} raises {one_line(error)}; it is left out"])


def _spec(name: str, dataset: Any) -> str:
    """Return the text that names a dataset with the options that are not the defaults."""
    values = ((field, getattr(dataset, field.name)) for field in fields(dataset))
    return label_of(name, {field.name: value for field, value in values if value != field.default})


def _status(name: str, dataset: Dataset, root: Path) -> DatasetStatus:
    present = dataset.present(root)
    remedy = None if present else dataset.by_hand(root) or download_command(root, name)
    shape, classes, sizes = (getattr(dataset, each, None) for each in ("input_shape", "num_classes", "sizes"))
    return DatasetStatus(name, shape, classes, sizes, present, remedy, dataset.place(root))


def _downloaded(name: str, dataset: Dataset, root: Path) -> bool:
    if not dataset.present(root) and dataset.by_hand(root) is None:
        click.echo(f"{name}: downloading to {root}")
    try:
        with prints_to_stderr():
            from synflow_bench.training import check_splits

            splits = check_splits(dataset.load(root, download=True), dataset)
    except DataError as error:
        say(f"error: {error}")
        return False
    click.echo(f"{name}: present, {len(splits.train)} training and {len(splits.test)} test images")
    return True


def _print(rows: list[DatasetStatus], root: Path) -> None:
    print_table(["dataset", "shape", "classes", "train", "test", "present"], [_cells(row) for row in rows])
    downloads = [row.name for row in rows if row.remedy == download_command(root, row.name)]
    for row in rows:
        if row.remedy and row.name not in downloads:
            click.echo("\n" + wrapped(printable(f"{row.name}: {row.remedy}"), later="  "))
    for row in rows:
        if row.place and row.present and "[" in row.name:
            click.echo("\n" + wrapped(printable(f"{row.name}: {row.place}"), later="  "))
    places = [(row.name, row.place) for row in rows if row.place and row.name in downloads]
    if places:
        click.echo("\npublished files that you have go into")
    for name, place in places:
        click.echo(wrapped(printable(f"{name}: {place}"), "  ", "    "))
    if downloads:
        click.echo(f"\nnot in {root}; to download:\n  {download_command(root, *downloads)}")


def _cells(row: DatasetStatus) -> list[str]:
    shape = "x".join(map(str, row.input_shape or ["any"]))
    classes, sizes = str(row.num_classes or "any"), map(str, row.sizes or ("any", "any"))
    return [row.name, shape, classes, *sizes, "yes" if row.present else "no"]
