"""`synflow-bench check NAME`: whether a pruner, a model or a data set keeps the contract, rule by rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.cli._tables import print_table
from synflow_bench.cli.options import data_option
from synflow_bench.cli.plugin_option import plugin_option
from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.host import Host

if TYPE_CHECKING:
    from synflow_bench.testing import Report

KINDS = ("pruner", "model", "dataset")


@click.command("check")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(KINDS), help="What NAME is, where several kinds have that name.")
@data_option
@plugin_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list.")
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], kind: str | None, data: Path, as_json: bool) -> None:
    """Check that pruners, models and data sets keep the contract.

    NAME is that of an installed one; a pruner may have parameters, as in 'synflow[rounds=10]'. Every rule is
    told with its verdict: pass, fail or skip, and the reason. Skipped are a data set whose files are not in
    the data folder, and a plugin that needs what is not installed, if its distribution declares that among
    its requirements or extras. The exit code is 1 if a rule is broken.
    """
    host = load_host(ctx)
    chosen = [(found, name) for name in names for found in _kinds_of(host, name, kind)]
    reports = []
    for found, name in chosen:
        reports.append(_report(found, name, data, host))
        if not as_json:
            _print(reports[-1])
    if as_json:
        click.echo(json.dumps([_summary(report) for report in reports], indent=1))
    if not all(report.passed for report in reports):
        raise click.exceptions.Exit(1)


def _kinds_of(host: Host, name: str, only: str | None) -> list[str]:
    kinds = [only] if only else list(KINDS)
    plain = name.partition("[")[0].strip()
    found = [kind for kind in kinds if plain in host.registry(kind)]
    if not found:
        known = [known for kind in kinds for known in host.registry(kind).names()]
        lists = ", ".join(f"`synflow-bench list {kind}s`" for kind in kinds)
        told = f"{lists} {'names' if only else 'name'} the installed"
        raise UnknownNameError(only or "pruner, model or dataset", plain, known, told)
    if plain != name and found != ["pruner"]:
        raise UsageError(f"{found[-1]} {plain!r} is checked without parameters; write {plain!r}")
    return found


def _report(kind: str, name: str, data: Path, host: Host) -> Report:
    from synflow_bench.testing import check_dataset, check_model, check_pruner

    if kind == "pruner":
        return check_pruner(name, host=host)
    return check_model(name, host) if kind == "model" else check_dataset(name, data, host)


def _print(report: Report) -> None:
    click.echo(f"{report.kind} {report.name}")
    print_table(["rule", "verdict", "reason"], [[f.rule, f.verdict, f.reason] for f in report.findings])
    click.echo(f"{', '.join(_counts(report))}\n")


def _counts(report: Report) -> Iterator[str]:
    verdicts = [finding.verdict for finding in report.findings]
    for verdict, word in (("pass", "kept"), ("fail", "broken"), ("skip", "skipped")):
        if verdict in verdicts:
            yield f"{verdicts.count(verdict)} {word}"


def _summary(report: Report) -> dict[str, Any]:
    findings = [asdict(finding) for finding in report.findings]
    return {"kind": report.kind, "name": report.name, "passed": report.passed, "findings": findings}
