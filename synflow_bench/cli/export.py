"""`synflow-bench export`: the trained network of a record as a file, smaller where units are dead."""

from __future__ import annotations

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import (
    data_option,
    device_option,
    flag,
    json_option,
    plugin_option,
    results_option,
)
from synflow_bench.cli.output import print_json, print_table, prints_to_stderr, say
from synflow_bench.errors import DataMissingError, UsageError
from synflow_bench.files import EXPORT_SUFFIXES, check_suffix, check_writable, is_special
from synflow_bench.records import Record, Store

if TYPE_CHECKING:
    from torch import Tensor

    from synflow_bench.exporting import Exported
    from synflow_bench.recovery import Recovery


@click.command("export")
@click.argument("key", metavar="KEY")
@click.option(
    "--format",
    "format_",
    type=click.Choice([*EXPORT_SUFFIXES]),
    default="onnx",
    show_default=True,
    help="ONNX, torch.export, or safetensors.",
)
@click.option(
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file; by default KEY with the suffix of the format, in the working folder.",
)
@click.option(
    "--compact/--no-compact", default=True, show_default=True, help="Leave out units that no kept path reads."
)
@flag("--fold", "fold", "Fold batch norm into the convolutions before it.")
@click.option("--opset", metavar="N", type=click.IntRange(min=1), help="The opset of ONNX.")
@flag("--latency", "latency", "Measure latencies before and after, on one thread, at batch 1 and 64.")
@flag("--force", "force", "Overwrite an existing FILE.")
@results_option
@data_option
@device_option
@plugin_option
@json_option("Print the outcome as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    key: str,
    format_: str,
    output: Path | None,
    compact: bool,
    fold: bool,
    opset: int | None,
    latency: bool,
    force: bool,
    results: Path,
    data: Path,
    device: str,
    as_json: bool,
) -> int:
    """Export the trained network of a record, smaller where units are dead.

    The weights are those that `run --keep weights` has kept; otherwise the cell is run again. The logits of
    the file are compared with those of the masked network, on test examples of its dataset if they are there.

    Exit code 0: exported; 1: the logits differ by more than rounding, or the weights are not those of the
    record; 2: usage error.
    """
    record = Store(results).find(key)
    path = output or Path(f"{record.key}{EXPORT_SUFFIXES[format_]}")
    check_suffix(path, EXPORT_SUFFIXES[format_], f"--format {format_}")
    if path.exists() and not (force or is_special(path)):
        raise UsageError(f"{str(path)!r} exists; add --force to overwrite it")
    check_writable(path)
    with prints_to_stderr():
        from synflow_bench.exporting import check_format, check_opset, export
        from synflow_bench.recovery import Recovery

        check_format(format_)
        if opset is not None:
            check_opset(opset, format_)
        given = ctx.get_parameter_source("device") is ParameterSource.COMMANDLINE
        place = (load_host(ctx, check=False), Store(results), data, device if given else None)
        recovery = Recovery(*place, lambda line: click.echo(line, err=True))
        model, found = recovery.network(record)
        if found.difference:
            say(f"warning: {found.difference}")
        inputs, origin = _inputs(recovery, record)
        options: dict[str, Any] = {"compact": compact, "fold": fold, "opset": opset, "latency": latency}
        exported = export(model, found.masks, path, inputs, format=format_, **options)  # type: ignore[arg-type]
    if as_json:
        print_json(_as_json(exported, origin))
    else:
        _print(exported, origin, compact)
    return int(not exported.is_exact or found.difference is not None)


def _inputs(recovery: Recovery, record: Record) -> tuple[Tensor, str]:
    """Return examples of the record's test set, or noise where the dataset is missing, and what they are."""
    import torch

    from synflow_bench.exporting import BATCHES, stand_in
    from synflow_bench.training import LoadedData

    dataset = recovery.host.dataset(record.cell.setting.dataset, recovery.data_root)
    number = max(BATCHES)
    try:
        test = LoadedData.load(dataset, recovery.data_root, torch.device("cpu")).test
    except DataMissingError:
        return stand_in(dataset.input_shape, number), "noise"
    return test.inputs(torch.arange(min(number, len(test)))), "test examples"


def _as_json(exported: Exported, origin: str) -> dict[str, Any]:
    latencies = [{**asdict(each), "ratio": each.ratio} for each in exported.latencies]
    listed = {**asdict(exported), "path": str(exported.path), "latencies": latencies}
    if not isfinite(exported.difference):
        listed["difference"] = None
    return {**listed, "compared_on": origin, "is_exact": exported.is_exact}


def _print(exported: Exported, origin: str, compact: bool) -> None:
    size, whole = (bytes / 2**20 for bytes in (exported.size, exported.whole_size))
    click.echo(
        f"{exported.path}: {size:.2f} MiB; the whole network has {whole:.2f} MiB of tensors, of which "
        f"{100 * exported.share:.1f} % are left"
    )
    if exported.hindrance:
        click.echo(f"dead units stay: {exported.hindrance}")
    elif compact and exported.share == 1:
        click.echo("no unit is dead: nothing can be left out")
    click.echo(
        f"largest difference of a logit on {origin}: {exported.difference:.2g}, of logits up to "
        f"{exported.largest_logit:.3g}"
    )
    if exported.latencies:
        rows = [
            [
                each.runtime,
                str(each.batch),
                f"{each.before * 1e3:.2f}",
                f"{each.after * 1e3:.2f}",
                f"{each.ratio:.1f}",
            ]
            for each in exported.latencies
        ]
        print_table(["runtime", "batch", "whole, ms", "exported, ms", "faster"], rows)
