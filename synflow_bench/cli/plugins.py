"""`synflow-bench list`, `plugins`, `check` and `new-plugin`: the installed plugins, and new ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import data_option, json_option, plugin_option
from synflow_bench.cli.output import print_json, print_table, prints_to_stderr
from synflow_bench.errors import UnknownNameError, UsageError, printable
from synflow_bench.host import KINDS, Description, Entry, Host, Plugin, description_of, short

if TYPE_CHECKING:
    from synflow_bench.testing import Report

_PLURALS = {f"{kind}s": kind for kind in KINDS}
_CHECKED = ("pruner", "model", "dataset")
_FEW = 6
"""The number of names that `plugins` prints; of more, it prints the number."""
_WIDTH = 80
_json = json_option("Print a JSON list.")


@click.command("list")
@click.argument("kind", metavar="KIND", type=click.Choice(list(_PLURALS)))
@plugin_option
@_json
@click.pass_context
def list_installed(ctx: click.Context, kind: str, as_json: bool) -> None:
    """List pruners, models, datasets, suites, executors or loggers.

    KIND is one of these words. Each installed name is listed with a line of description and its parameters;
    `synflow-bench show NAME` prints the whole description, for a pruner with its formula. The distribution is
    given for names that are not from synflow-bench. Nothing that is listed is imported.
    """
    entries = load_host(ctx).registry(_PLURALS[kind]).entries()
    described = [(entry, description_of(entry)) for entry in entries]
    if as_json:
        print_json([_entry(entry, description) for entry, description in described])
    else:
        _print_list(described)


def _print_list(described: Sequence[tuple[Entry, Description]]) -> None:
    """Print a description per name, with the parameters below, within 80 columns."""
    width = max((len(entry.name) for entry, _ in described), default=0)
    left = _WIDTH - width - len("  ")
    for entry, description in described:
        parameters = ", ".join(f"{name}={default}" for name, default in description.parameters.items())
        lines = [*wrap(_line(entry, description), left), *wrap(parameters, left)]
        for name, line in zip_longest([entry.name], lines, fillvalue=""):
            click.echo(f"{name:{width}}  {printable(line)}".rstrip())


def _line(entry: Entry, description: Description) -> str:
    if entry.distribution == "synflow-bench":
        return description.line
    return f"{description.line} ({entry.distribution} {short(entry.version)})".strip()


def _entry(entry: Entry, description: Description) -> dict[str, Any]:
    return {
        "name": entry.name,
        "description": description.line,
        "parameters": description.parameters,
        "distribution": entry.distribution,
        "version": entry.version,
        "plugin": entry.plugin,
        "reference": entry.where,
    }


@click.command("plugins")
@plugin_option
@_json
@click.pass_context
def list_plugins(ctx: click.Context, as_json: bool) -> None:
    """List plugins, what they provide, and what is wrong with them."""
    root = ctx.find_root().command
    if isinstance(root, click.Group):
        root.list_commands(ctx)  # which finds what is wrong with their commands
    plugins = load_host(ctx, check=False).plugins
    if as_json:
        print_json([_plugin(plugin) for plugin in plugins])
    else:
        rows = [
            [p.name, p.distribution, short(p.version), p.status, p.cause or _provided(p)] for p in plugins
        ]
        print_table(["plugin", "distribution", "version", "status", "provides"], rows)


def _plugin(plugin: Plugin) -> dict[str, Any]:
    return {
        "distribution": plugin.distribution,
        "version": plugin.version,
        "plugin": plugin.name,
        "reference": plugin.reference,
        "status": plugin.status,
        "cause": plugin.cause or None,
        "provides": plugin.provides,
    }


def _provided(plugin: Plugin) -> str:
    return "; ".join(
        f"{kind}s: {', '.join(names)}" if len(names) <= _FEW else f"{len(names)} {kind}s"
        for kind, names in plugin.provides.items()
    )


@click.command("check")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@click.option("--kind", type=click.Choice(_CHECKED), help="The kind, if NAME is of several.")
@data_option
@plugin_option
@_json
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...], kind: str | None, data: Path, as_json: bool) -> None:
    """Check pruners, models and datasets against the plugin contract.

    NAME is an installed pruner, model or dataset; a pruner may have parameters, as in 'synflow[rounds=10]'.
    Every rule is listed with its verdict (pass, fail or skip) and the reason. Rules are skipped for a dataset
    whose files are not in the data folder, and for a plugin that needs a package that is not installed, if
    its distribution declares that package as a requirement or in an extra.

    Exit code 0: no rule is broken; 1: some are; 2: usage error.
    """
    host = load_host(ctx)
    chosen = [(found, name) for name in names for found in _kinds_of(host, name, kind)]
    reports = []
    for found, name in chosen:
        with prints_to_stderr():
            reports.append(_report(found, name, data, host))
        if not as_json:
            _print_report(reports[-1])
    if as_json:
        print_json([_findings(report) for report in reports])
    if not all(report.passed for report in reports):
        raise click.exceptions.Exit(1)


def _kinds_of(host: Host, name: str, only: str | None) -> list[str]:
    kinds = [only] if only else list(_CHECKED)
    plain = name.partition("[")[0].strip()
    found = [kind for kind in kinds if plain in host.registry(kind)]
    if not found:
        known = [known for kind in kinds for known in host.registry(kind).names()]
        lists = ", ".join(f"`synflow-bench list {kind}s`" for kind in kinds)
        way_out = f"{lists} {'lists' if only else 'list'} the installed ones"
        raise UnknownNameError(only or "pruner, model or dataset", plain, known, way_out)
    if plain != name and "model" in found:
        raise UsageError(f"model {plain!r} is checked without parameters; write {plain!r}")
    return found


def _report(kind: str, name: str, data: Path, host: Host) -> Report:
    from synflow_bench.testing import check_dataset, check_model, check_pruner

    if kind == "pruner":
        return check_pruner(name, host=host)
    return check_model(name, host) if kind == "model" else check_dataset(name, data, host)


def _print_report(report: Report) -> None:
    click.echo(f"{report.kind} {printable(report.name)}")
    print_table(["rule", "verdict", "reason"], [[f.rule, f.verdict, f.reason] for f in report.findings])
    click.echo(f"{', '.join(_counts(report))}\n")


def _counts(report: Report) -> Iterator[str]:
    verdicts = [finding.verdict for finding in report.findings]
    for verdict, word in (("pass", "passed"), ("fail", "failed"), ("skip", "skipped")):
        if verdict in verdicts:
            yield f"{verdicts.count(verdict)} {word}"


def _findings(report: Report) -> dict[str, Any]:
    findings = [asdict(finding) for finding in report.findings]
    return {"kind": report.kind, "name": report.name, "passed": report.passed, "findings": findings}


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(_CHECKED),
    default="pruner",
    show_default=True,
    help="The kind of the plugin.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    show_default="the working folder",
    help="The parent of the new folder.",
)
@click.pass_context
def new_plugin(ctx: click.Context, name: str, kind: Any, output: Path) -> None:
    """Write a small distribution with a plugin of your own.

    NAME is the name of the pruner, model or dataset, such as gradnorm. The new folder synflow-bench-NAME has
    one module, tests with the conformance kit, a README and a workflow for continuous integration.
    """
    from synflow_bench.scaffold import names_of, write_distribution

    names = names_of(name, kind)
    registry = load_host(ctx).registry(kind)
    if names.plugin in registry:
        entry = registry.entry(names.plugin)
        taken = f"{kind} {names.plugin!r} is taken by {entry.distribution} {entry.version}"
        raise UsageError(f"{taken}; choose another name")
    folder = write_distribution(names, kind, output)
    click.echo(f"wrote {folder}\nnext: pip install -e {folder} && synflow-bench check {names.plugin}")
