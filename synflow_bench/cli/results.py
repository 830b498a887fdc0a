"""`synflow-bench results`: what is recorded, how a record is laid out, and records from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from synflow_bench.cli._sharing import export, import_, merge, verify
from synflow_bench.cli.options import results_option
from synflow_bench.records import Record, Store, json_schema, printable


@click.group("results")
def command() -> None:
    """List what is recorded, and describe the files.

    Also hand records on, and take those of others: validated, compared, never written over ours.
    """


for _command in (export, import_, merge, verify):
    command.add_command(_command)


@command.command("schema")
def schema() -> None:
    """Print the JSON Schema of a record."""
    click.echo(json.dumps(json_schema(), indent=1))


@command.command("list")
@results_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
def list_(results: Path, as_json: bool) -> None:
    """List the recorded cells: key, status, accuracy, title."""
    records = sorted(Store(results), key=_order)
    if as_json:
        click.echo(json.dumps([_summary(record) for record in records], indent=1))
    elif not records:
        click.echo(f"no records in {str(results)!r}", err=True)
    else:
        _print(records)


def _order(record: Record) -> tuple[str, bool, str, float, int, str]:
    cell = record.cell
    return cell.setting.title, not cell.is_dense, cell.row, cell.compression, cell.seed, record.key


def _summary(record: Record) -> dict[str, Any]:
    top1 = record.metrics.test_top1 if record.metrics else None
    return {"key": record.key, "status": record.status, "cell": record.cell.title, "test_top1": top1}


def _print(records: list[Record]) -> None:
    for record in records:
        top1 = f"{100 * record.metrics.test_top1:5.1f}" if record.metrics else "    –"
        click.echo(f"{record.key}  {record.status:7}  {top1}  {printable(record.cell.title)}")
