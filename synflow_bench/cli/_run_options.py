"""The options of `synflow-bench run`, by what they decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from synflow_bench.cli.options import data_option, results_option

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


def _together(*options: Decorator) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def _many(name: str, field: str, metavar: str, help: str, kind: type = str) -> Decorator:
    return click.option(name, field, metavar=metavar, type=kind, multiple=True, help=help)


def _number(name: str, help: str, least: int = 1, default: int | None = None) -> Decorator:
    kind, shown = click.IntRange(min=least), default is not None
    return click.option(name, metavar="N", type=kind, default=default, show_default=shown, help=help)


def _flag(name: str, field: str, help: str) -> Decorator:
    return click.option(name, field, is_flag=True, help=help)


which_cells = _together(
    _flag("--all", "all_pruners", "Run every installed pruner, whatever the suite says."),
    click.option("--suite", metavar="NAME|FILE", default="quick", show_default=True, help="What to run."),
    _many("--pruner", "pruners", "P", "A pruner, such as 'synflow[rounds=10]'."),
    _many("--dataset", "datasets", "D", "Only this data set, or this one instead."),
    _many("--model", "models", "M", "Only this network, or this one instead."),
    _many("--compression", "compressions", "C", "Prunable over kept weights.", float),
    _many("--ablation", "ablations", "A", "none, shuffle, reinit, invert, random-labels, random-inputs."),
    _number("--seeds", "How many repetitions."),
    _number("--epochs", "Epochs of every recipe.", least=0),
    click.option("--precision", type=click.Choice(["fp32", "bf16"]), help="Precision of every recipe."),
    click.option(
        "--protocol", type=click.Choice(["singleshot", "multishot"]), help="Prune once, or level by level."
    ),
    _number("--levels", "Levels of protocol multishot: each trains, prunes and rewinds."),
    click.option(
        "--rewind",
        metavar="init|STEP|lr",
        help="Where multishot's weights go back to: the start, an optimizer step, or nowhere.",
    ),
    _many("--set", "assignments", "PATH=VALUE", "Change every setting: recipe.lr=0.01."),
)
where = _together(
    click.option("--executor", metavar="E", default="local", show_default=True, help="Where cells run."),
    _number("--workers", "Cells at a time; by default as many as there is room for."),
    _number("--threads", "Threads a worker.", default=1),
    click.option(
        "--device", metavar="D", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."
    ),
    results_option,
    data_option,
)
how = _together(
    click.option(
        "--retry-failed/--no-retry-failed", default=True, show_default=True, help="Run failed cells again."
    ),
    _flag("--force", "force", "Run recorded cells again; the records they had are kept aside."),
    _flag("--dry-run", "dry_run", "Only say what would run, and how long it would take."),
    _many("--log", "logs", "NAME[=TARGET]", "Log to csv=DIR, tensorboard=DIR, wandb=PROJECT, ..."),
    _flag("--json", "as_json", "Print the outcome as JSON instead of a leaderboard."),
)
