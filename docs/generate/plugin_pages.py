"""Tables of the pruners, models and datasets of this distribution, one row per name."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from math import prod
from typing import Any

import torch
from prose import code, docstring, first_line, papers, table

from synflow_bench import Dataset, Pruner, PruningOptions
from synflow_bench.host import Host, Registry
from synflow_bench.pruning import prunable_parameters

DISTRIBUTION = "synflow-bench"
HARNESS = {"rounds": 1, "schedule": "exponential"}
PRUNERS = """# Pruners

A pruner computes a score for every prunable weight; the harness keeps the weights with the highest scores.
In the formulas, w is a weight, m its mask, L the loss, g = dL/dw the gradient and rho the density.

- `--pruner NAME` selects a pruner, and `--all` selects every installed one.
- `--pruner 'NAME[parameter=value]'` sets parameters.
- Every pruner has the parameters `rounds` and `schedule`. One round is one-shot, more is iterative pruning.
"""
MODELS = """# Models

A model is a function `factory(input_shape, num_classes, **options)` that returns a network.

- `--model NAME` selects a model.
- In a suite, `model = {{ name = "lottery/resnet20", options = {{ residual = true }} }}` sets options too.
- The layers follow the shape of the images. A shape that a network cannot take is an error.
- The column "weights" counts the weights of linear and convolutional layers:
  {shapes}.
- [Networks and pruners](networks-and-pruners.md) shows which pruners work on which networks.
"""
DATASETS = """# Datasets

- `--dataset NAME` selects a dataset.
- `synflow-bench data list` shows which datasets are on this machine.
- `synflow-bench data download NAME` downloads one.

Mean and standard deviation are those of the training images, scaled to [0, 1].
"""
SHAPES = {
    "lottery": (3, 32, 32, 10),
    "tinyimagenet": (3, 64, 64, 200),
    "imagenet": (3, 224, 224, 1000),
    "gpt": (64, 65),
}
"""The shape of an example and the number of classes, by the first part of a model's name."""
SMALL = (1, 28, 28, 10)


def pruners_page() -> str:
    """Return a table with one row per pruner, and the docstring of each."""
    found = _ours(Host.load().pruners)
    head = ["pruner", "rule", "rounds", "data", "parameters", "paper"]
    return _page(PRUNERS, table(head, map(_pruner, found.items())), found)


def _page(intro: str, rows: str, found: dict[str, type]) -> str:
    sections = [f"## {name}\n\n{docstring(kind)}\n" for name, kind in found.items()]
    return "\n".join([intro, rows, "", *sections])


def _pruner(item: tuple[str, type[Pruner]]) -> list[object]:
    name, kind = item
    own = [f"`{f.name}={_toml(f.default)}`" for f in fields(kind) if f.name not in HARNESS]
    data = "yes" if kind.needs_data else "no"
    rounds = _rounds(kind)
    return [f"[`{name}`](#{name})", first_line(kind), rounds, data, ", ".join(own), ", ".join(papers(kind))]


def _rounds(kind: type[Pruner]) -> str:
    default = kind()
    return f"{default.rounds}" if default.rounds == 1 else f"{default.rounds} {default.schedule}"


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def models_page() -> str:
    """Return a table with one row per network."""
    *named, rest = (f"{'x'.join(map(str, s[:-1]))} and {s[-1]} classes" for s in (*SHAPES.values(), SMALL))
    text = (
        "".join(f"{shape} in `{family}/`,\n  " for family, shape in zip(SHAPES, named, strict=True))
        + f"else {rest}"
    )
    rows = map(_model, sorted(_ours(Host.load().models).items(), key=_in_order))
    head = ["model", "weights", "options", "description"]
    return f"{MODELS.format(shapes=text)}\n{table(head, rows)}\n"


def _in_order(item: tuple[str, Any]) -> list[str | int]:
    """Sort numbers in a name as numbers: resnet18 before resnet101."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", item[0])]


def _model(item: tuple[str, Any]) -> list[object]:
    name, factory = item
    options = list(inspect.signature(factory).parameters.values())[2:]
    shown = ", ".join(f"`{p.name}={_toml(p.default)}`" for p in options)
    return [code(name), f"{_weights(name, factory):,}", shown, _description(factory)]


def _description(factory: Any) -> str:
    """Return the first line of a function's docstring, or of a class with the values of the instance."""
    if inspect.isfunction(factory):
        return first_line(factory)
    made = ", ".join(f"`{name}` {_toml(value)}" for name, value in vars(factory).items())
    return f"{first_line(type(factory)).removesuffix('.')}: {made}."


def _weights(name: str, factory: Any) -> int:
    *shape, classes = SHAPES.get(name.partition("/")[0], SMALL)
    with torch.device("meta"):
        model = factory(tuple(shape), classes)
    return sum(prod(weight.shape) for weight in prunable_parameters(model, PruningOptions()).values())


def datasets_page() -> str:
    """Return a table with one row per dataset, and the docstring of each."""
    head = ["dataset", "images", "classes", "training, test", "mean", "deviation", "augmentation"]
    found = _ours(Host.load().datasets)
    return _page(DATASETS, table(head, map(_dataset, found.items())), found)


def _dataset(item: tuple[str, type[Dataset]]) -> list[object]:
    name, kind = item
    if not hasattr(kind, "input_shape"):
        return [
            f"[`{name}`](#{name})",
            *["of its files"] * 5,
            "an option" if name == "image-folder" else "none",
        ]
    shape = "x".join(map(str, kind.input_shape))
    sizes = ", ".join(f"{size:,}" for size in kind.sizes)
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (kind.mean, kind.std))
    return [f"[`{name}`](#{name})", shape, kind.num_classes, sizes, mean, std, _augmentation(kind)]


def _augmentation(kind: type[Dataset]) -> str:
    if kind.augmentation is None:
        return "none"
    given = {f.name: getattr(kind.augmentation, f.name) for f in fields(kind.augmentation)}
    used = {name: value for name, value in given.items() if value not in (0, None, False)}
    return code(", ".join(f"{name}={value}" for name, value in used.items()))


def _ours(registry: Registry[Any]) -> dict[str, Any]:
    """Return what this distribution registers, by name: a page does not depend on what else is installed."""
    names = [entry.name for entry in registry.entries() if entry.distribution == DISTRIBUTION]
    return {name: registry.get(name) for name in names}
