"""`synflow-bench score`: zero-cost proxies of installed networks, and their correlation with records."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from synflow_bench.cli.app import load_host
from synflow_bench.cli.options import (
    data_option,
    json_option,
    plugin_option,
    refuse,
    repeatable,
    results_option,
)
from synflow_bench.cli.output import print_json, print_table, prints_to_stderr
from synflow_bench.errors import HandledError, one_line, printable
from synflow_bench.host import Host

if TYPE_CHECKING:
    from torch import Tensor

    from synflow_bench.scores import Correlation

Values = dict[str, float | None]


def _read_shape(_ctx: click.Context, _option: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise click.BadParameter(f"{text!r} is not the shape of one example, such as 3,32,32")
    return shape


@click.command("score")
@click.argument("models", metavar="[MODEL...]", nargs=-1)
@repeatable("--method", "methods", "M", "Only this score, such as synflow or naswot.")
@click.option("--dataset", metavar="D", help="Score on examples of this dataset, instead of random ones.")
@click.option(
    "--input-shape",
    metavar="SHAPE",
    default="3,32,32",
    show_default=True,
    callback=_read_shape,
    help="The shape of random examples.",
)
@click.option(
    "--classes", metavar="N", type=click.IntRange(min=2), default=10, show_default=True, help="The classes."
)
@click.option(
    "--examples",
    metavar="N",
    type=click.IntRange(min=2),
    default=32,
    show_default=True,
    help="The number of examples; deep networks need much memory per example.",
)
@click.option(
    "--seed",
    metavar="N",
    type=click.IntRange(min=0, max=2**63 - 1),
    default=0,
    show_default=True,
    help="The seed of weights and examples.",
)
@results_option
@data_option
@plugin_option
@json_option("Print the scores as JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    models: tuple[str, ...],
    methods: tuple[str, ...],
    dataset: str | None,
    input_shape: tuple[int, ...],
    classes: int,
    examples: int,
    seed: int,
    results: Path,
    data: Path,
    as_json: bool,
) -> int:
    """Score networks without training, by zero-cost proxies.

    Without MODEL, all installed models are scored. The scores are synflow (log10 of the total synaptic flow),
    snip, grasp, gradient-norm, jacobian-covariance, naswot, parameters and macs. If the results folder has
    records of three or more of these networks, unpruned and on one dataset, rank correlations with their
    accuracies follow.

    Exit code 0: all networks are scored; 1: some cannot be built or run; 2: usage error.
    """
    if dataset:
        refuse(ctx, ["input_shape", "classes"], "--dataset has a shape and classes")
    else:
        refuse(ctx, ["data"], "no --dataset is given")
    host = load_host(ctx)
    for name in models:
        host.models.entry(name)
    with prints_to_stderr():
        from synflow_bench.scores import METHODS, check_methods

        chosen = check_methods(methods or None)
        batch = _batch(host, dataset, data, examples, seed) if dataset else None
        if batch:
            input_shape, classes = batch[0]
        found: dict[str, Values] = {}
        for name in models or host.models.names():
            try:
                found[name] = _scores(host, name, input_shape, classes, chosen, batch, examples, seed)
            except Exception as error:  # a model of a plugin may fail in any way
                reason = one_line(error, with_type=not isinstance(error, HandledError), first_line=True)
                click.echo(f"{name}: {printable(reason)}", err=True)
        related = _correlations(found, results)
    if as_json:
        print_json({"scores": found, "correlations": [asdict(each) for each in related]})
    else:
        shown = [name for name in METHODS if name in chosen]
        print_table(["model", *shown], [[name, *_texts(values, shown)] for name, values in found.items()])
        _print_correlations(related, shown)
    return int(len(found) < len(models or host.models.names()))


Batch = tuple[tuple[tuple[int, ...], int], tuple["Tensor", "Tensor"]]
"""The input shape and the number of classes of a dataset, and examples of it."""


def _batch(host: Host, name: str, root: Path, examples: int, seed: int) -> Batch:
    import torch

    from synflow_bench.training import LoadedData, balanced_examples

    data = LoadedData.load(host.dataset(name, root), root, torch.device("cpu"))
    draws = torch.Generator().manual_seed(seed)
    per_class = -(-examples // data.num_classes)
    inputs, labels = balanced_examples(data.train, data.num_classes, per_class, draws)
    return (data.input_shape, data.num_classes), (inputs[:examples], labels[:examples])


def _scores(
    host: Host,
    name: str,
    shape: tuple[int, ...],
    classes: int,
    methods: list[str],
    batch: Batch | None,
    examples: int,
    seed: int,
) -> Values:
    import torch

    from synflow_bench.scores import score

    factory = host.models.get(name)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        torch.manual_seed(seed)
        model = factory(shape, classes)
        found = score(model, shape, methods, data=batch[1] if batch else None, examples=examples, seed=seed)
    for each in noted:
        if str(each.message).startswith("no score"):
            click.echo(f"{name}: {printable(str(each.message))}", err=True)
    return found


def _correlations(found: dict[str, Values], results: Path) -> list[Correlation]:
    from synflow_bench.records import Store
    from synflow_bench.scores import correlations

    return correlations(found, Store(results).results([]))


def _texts(values: Values, methods: list[str]) -> list[str]:
    return [_text(values[name], whole=name in ("parameters", "macs")) for name in methods]


def _text(value: float | None, *, whole: bool) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _print_correlations(related: list[Correlation], methods: list[str]) -> None:
    if not related:
        return
    click.echo("\nSpearman's rank correlation with recorded accuracies of unpruned networks")
    rows = [
        [each.dataset, str(len(each.networks)), *(_rounded(each.methods.get(name)) for name in methods)]
        for each in related
    ]
    print_table(["dataset", "networks", *methods], rows)


def _rounded(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f}"
