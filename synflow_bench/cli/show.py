"""`synflow-bench show`: a record, or the description of an installed name."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import (
    Decorator,
    data_option,
    device_option,
    flag,
    json_option,
    plugin_option,
    refuse,
    results_option,
)
from synflow_bench.cli.output import (
    print_json,
    print_json_text,
    prints_to_stderr,
    say,
    wrapped,
    wrapped_docstring,
)
from synflow_bench.errors import UnknownNameError, UsageError, printable, printable_lines
from synflow_bench.files import check_suffix, check_writable, is_special
from synflow_bench.host import KINDS, Entry, Host, description_of, short
from synflow_bench.records import Layer, Record, Store

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from synflow_bench.recovery import Recovery


def _file(name: str, help: str) -> Decorator:
    return click.option(name, metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help=help)


@click.command("show")
@click.argument("name", metavar="KEY|NAME")
@_file("--masks", "Write the masks of the record to a safetensors file, one bool tensor per layer.")
@_file("--weights", "Write the trained weights of the record to a safetensors file.")
@flag("--again", "again", "Run again even if they were kept, and compare with the kept ones.")
@flag("--force", "force", "Overwrite existing FILEs.")
@results_option
@data_option
@device_option
@plugin_option
@json_option("Print the record as it is stored, or the description as a JSON list.")
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    masks: Path | None,
    weights: Path | None,
    again: bool,
    force: bool,
    results: Path,
    data: Path,
    device: str,
    as_json: bool,
) -> int:
    """Show a record, or the description of an installed name.

    KEY is the key of a record, or its first characters; `synflow-bench results list` prints the keys. NAME is
    the name of a pruner, model, dataset, suite, executor or logger. For a pruner, the description has the
    formula, the paper and the parameters.

    --masks and --weights take what `run --keep` has kept. Otherwise they run the pruning again, or for
    weights the whole cell, and compare with the record; a pruning at initialization trains nothing.

    Exit code 0: shown, and equal to what is recorded; 1: what was run again differs; 2: usage error.
    """
    files = {option: path for option, path in (("--masks", masks), ("--weights", weights)) if path}
    _check_files(ctx, files, force)
    host = load_host(ctx, check=False)
    entries = [host.registry(kind).entry(name) for kind in KINDS if name in host.registry(kind)]
    if entries:
        if files:
            raise UsageError(f"{name!r} is an installed {entries[0].kind}, and has no masks; give a KEY")
        _show_installed(entries, host, as_json)
        return 0
    store = Store(results)
    unreadable: list[str] = []
    if not any(path.stem.startswith(name) for path in store.paths(unreadable)) and not unreadable:
        known = [known for kind in KINDS for known in host.registry(kind).names()]
        listing = f"`synflow-bench results list` lists the records in {str(results)!r}"
        raise UnknownNameError("record or installed name", name, known, listing)
    record = store.find(name)
    differs, lines = False, list[str]()
    if files:
        with prints_to_stderr():
            device_given = ctx.get_parameter_source("device") is ParameterSource.COMMANDLINE
            recovery = _recovery(host, store, data, device if device_given else None)
            differs, lines = _write_files(recovery, record, masks, weights, again)
    if as_json:
        print_json_text(record.to_json().removesuffix("\n"))
    else:
        from rich.console import Console

        _print(record, Console())
    for line in lines:  # below the record, which fills a terminal
        say(line)
    return int(differs)


def _check_files(ctx: click.Context, files: dict[str, Path], force: bool) -> None:
    if not files:
        refuse(ctx, ["again", "force", "data", "device"], "neither --masks nor --weights is given")
    for option, path in files.items():
        check_suffix(path, ".safetensors", f"the file of {option}")
        if path.exists() and not (force or is_special(path)):
            raise UsageError(f"{str(path)!r} exists; add --force to overwrite it")
    if len({os.path.realpath(path) for path in files.values()}) < len(files):
        raise UsageError(f"--masks and --weights name one file, {str(files['--masks'])!r}; name two")
    for path in files.values():
        check_writable(path)


def _recovery(host: Host, store: Store, data: Path, device: str | None) -> Recovery:
    from synflow_bench.recovery import Recovery

    return Recovery(host, store, data, device, lambda line: click.echo(line, err=True))


def _write_files(
    recovery: Recovery, record: Record, masks: Path | None, weights: Path | None, again: bool
) -> tuple[bool, list[str]]:
    """Write masks and weights; return True if they are not those of the record, and what to print."""
    from synflow_bench.recovery import save_weights

    found = recovery.recover(record, weights=weights is not None, again=again)
    if masks:
        found.masks.save(masks)
    if weights:
        save_weights(found.weights or {}, weights)
    written = " and ".join(repr(str(path)) for path in (masks, weights) if path)
    warnings = [f"warning: {found.difference}"] if found.difference else []
    return found.difference is not None, [*warnings, f"{record.key}, {found.origin}: wrote {written}"]


def _show_installed(entries: Iterable[Entry], host: Host, as_json: bool) -> None:
    with prints_to_stderr():
        described = [(entry, _text(entry, host)) for entry in entries]
    if as_json:
        print_json([{"kind": e.kind, "name": e.name, "text": text} for e, text in described])
        return
    for entry, text in described:
        where = printable(f"{entry.distribution} {short(entry.version)}")
        click.echo(f"{entry.kind} {entry.name}, {where}\n")
        parameters = description_of(entry).parameters
        shown = printable_lines(text)
        click.echo(shown if isinstance(entry.reference, Path) else wrapped_docstring(shown))
        if parameters:
            defaults = printable(", ".join(f"{name}={value}" for name, value in parameters.items()))
            click.echo("\n" + wrapped(f"Defaults: {defaults}", later="    "))


def _text(entry: Entry, host: Host) -> str:
    """Return the docstring of the registered object, or the file of a suite."""
    if isinstance(entry.reference, Path):
        return entry.reference.read_text(encoding="utf-8-sig").rstrip()
    return inspect.getdoc(host.registry(entry.kind).get(entry.name)) or "no description"


def _print(record: Record, console: Console) -> None:
    from rich.text import Text

    color = {"ok": "green", "failed": "red", "skipped": "yellow"}[record.status]
    console.print(Text.assemble((printable(record.cell.title), "bold"), " ", (record.status, color)))
    for part in filter(None, (build(record) for build in _PARTS)):
        console.print()
        console.print(part)
    if record.error and record.error.traceback:
        console.print()
        console.print(Text(printable_lines(record.error.traceback)))


def _cell(record: Record) -> Table:
    cell = record.cell
    settled = {"key": record.key, "setting": cell.setting.id, "masks": record.masks}
    parts = cell.model_dump(mode="json", exclude={"pruner": {"label"}})
    return _pairs("cell", {**settled, **dict(_leaves(parts))})


def _error(record: Record) -> Table | None:
    error = record.error
    if not error:
        return None
    place = {"raised at": error.raised_at} if error.raised_at else {}
    return _pairs("error", {error.kind: error.message, **place})


def _metrics(record: Record) -> Table | None:
    return _pairs("metrics", record.metrics.model_dump(mode="json")) if record.metrics else None


def _timing(record: Record) -> Table | None:
    return _pairs("timing", record.timing.model_dump(mode="json")) if record.timing else None


def _provenance(record: Record) -> Table:
    return _pairs("provenance", dict(_leaves(record.provenance.model_dump(mode="json"))))


def _layers(record: Record) -> Table | None:
    if not record.layers:
        return None
    headers = ["layer", "shape", "size", "kept", "density", "effective", "MACs"]
    return _grid("layers", headers, map(_layer, record.layers))


def _layer(layer: Layer) -> list[str]:
    density = f"{layer.kept / layer.size:.4f}" if layer.size else "–"
    effective = "–" if layer.effective_kept is None else str(layer.effective_kept)
    shape = "x".join(map(str, layer.shape))
    return [layer.name, shape, str(layer.size), str(layer.kept), density, effective, str(layer.macs)]


def _levels(record: Record) -> Table | None:
    if not record.levels:
        return None
    rows = (
        [str(each.level), f"{each.density:.4f}", _percent(each.val_top1), _percent(each.test_top1)]
        for each in record.levels
    )
    return _grid("levels", ["level", "density", "val top-1 %", "test top-1 %"], rows)


def _curve(record: Record) -> Table | None:
    if not record.curve:
        return None
    headers = ["epoch", "lr", "train loss", "val top-1 %", "test top-1 %", "test loss"]
    rows = (
        [
            str(point.epoch),
            f"{point.lr:.3g}",
            _number(point.train_loss),
            _percent(point.val_top1),
            _percent(point.test_top1),
            _number(point.test_loss),
        ]
        for point in record.curve
    )
    return _grid("curve", headers, rows)


_PARTS: tuple[Callable[[Record], Table | None], ...] = (
    _error,
    _cell,
    _metrics,
    _layers,
    _levels,
    _curve,
    _timing,
    _provenance,
)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f}"


def _leaves(value: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _leaves(inner, f"{path}{name}.")
        else:
            yield f"{path}{name}", inner


def _pairs(title: str, values: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in values.items():
        table.add_row(Text(printable(name), style="dim"), Text(printable(_value(value))))
    return table


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return ", ".join(map(str, value)) or "–" if isinstance(value, list) else str(value)


def _grid(title: str, headers: Iterable[str], rows: Iterable[list[str]]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for index, header in enumerate(headers):
        table.add_column(header, justify="right" if index else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(text)) for text in row))
    return table
