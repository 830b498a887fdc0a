"""Our own pruners, models and data sets: one row each."""

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

A score is for each prunable weight, and the highest are kept; w are the weights, g = dL/dw. `--pruner
NAME` takes one, `--pruner 'NAME[parameter=value]'` with other parameters, `--all` every one that is
installed. All have the parameters `rounds` and `schedule`.
"""
MODELS = """# Models

Networks from `factory(input_shape, num_classes, **options)`; `--model NAME` takes one, in a suite `model
= {{ name = "lottery/resnet20", options = {{ residual = true }} }}`. All follow the size and the channels
of the images; a size that a network cannot take is an error. Weights are those of linear and
convolutional layers, for {shapes}.
"""
DATASETS = """# Data sets

`synflow-bench data list` says which are here, `synflow-bench data download NAME` fetches one. Mean and
deviation are those of the training images scaled to 0 to 1.
"""
SHAPES = {"lottery": (3, 32, 32, 10), "tinyimagenet": (3, 64, 64, 200), "imagenet": (3, 224, 224, 1000)}
SMALL = (1, 28, 28, 10)


def pruners_page() -> str:
    """One row a pruner, and what each says of itself."""
    found = _ours(Host.load().pruners)
    head = ["pruner", "what is kept", "rounds", "data", "parameters", "paper"]
    sections = [f"## {name}\n\n{docstring(kind)}" for name, kind in found.items()]
    return "\n\n".join([PRUNERS.rstrip(), table(head, map(_pruner, found.items())), *sections]) + "\n"


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
    """One row a network."""
    shapes = "".join(f"{c}x{h}x{w} and {n} classes in `{f}/`, " for f, (c, h, w, n) in SHAPES.items())
    channels, height, width, classes = SMALL
    shapes += f"else {channels}x{height}x{width} and {classes} classes"
    rows = map(_model, sorted(_ours(Host.load().models).items(), key=_in_order))
    return (
        "\n\n".join(
            [
                MODELS.format(shapes=shapes).rstrip(),
                table(["model", "weights", "options", "what it is"], rows),
            ]
        )
        + "\n"
    )


def _in_order(item: tuple[str, Any]) -> list[str | int]:
    """Numbers in a name count as numbers: resnet18 before resnet101."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", item[0])]


def _model(item: tuple[str, Any]) -> list[object]:
    name, factory = item
    options = list(inspect.signature(factory).parameters.values())[2:]
    shown = ", ".join(f"`{p.name}={_toml(p.default)}`" for p in options)
    return [code(name), f"{_weights(name, factory):,}", shown, _said(factory)]


def _said(factory: Any) -> str:
    """What a function says of itself, or a class and the values that it was made with."""
    if inspect.isfunction(factory):
        return first_line(factory)
    made = ", ".join(f"`{name}` {_toml(value)}" for name, value in vars(factory).items())
    return f"{first_line(type(factory)).removesuffix('.')}: {made}."


def _weights(name: str, factory: Any) -> int:
    *shape, classes = SHAPES.get(name.partition("/")[0], SMALL) if "/" in name else SMALL
    with torch.device("meta"):
        model = factory(tuple(shape), classes)
    return sum(prod(weight.shape) for weight in prunable_parameters(model, PruningOptions()).values())


def datasets_page() -> str:
    """One row a data set."""
    head = ["data set", "images", "classes", "training, test", "mean", "deviation", "augmentation"]
    found = _ours(Host.load().datasets)
    sections = [f"## {name}\n\n{docstring(kind)}" for name, kind in found.items()]
    return "\n\n".join([DATASETS.rstrip(), table(head, map(_dataset, found.items())), *sections]) + "\n"


def _dataset(item: tuple[str, type[Dataset]]) -> list[object]:
    name, kind = item
    shape = "x".join(map(str, kind.input_shape))
    sizes = ", ".join(f"{size:,}" for size in kind.sizes)
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (kind.mean, kind.std))
    return [f"[`{name}`](#{name})", shape, kind.num_classes, sizes, mean, std, _augmentation(kind)]


def _augmentation(kind: type[Dataset]) -> str:
    if kind.augmentation is None:
        return "none"
    given = {f.name: getattr(kind.augmentation, f.name) for f in fields(kind.augmentation)}
    said = [f"{name}={value}" for name, value in given.items() if value not in (0, None, False)]
    return code(", ".join(said))


def _ours(registry: Registry[Any]) -> dict[str, Any]:
    """What this project brings, by name: a page does not depend on what else is installed."""
    names = [entry.name for entry in registry.entries() if entry.distribution == DISTRIBUTION]
    return {name: registry.get(name) for name in names}
