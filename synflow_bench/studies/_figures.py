"""The figures of Tanaka et al. 2020 (arXiv 2006.05467): what each needs, at two scales. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from synflow_bench.errors import UnknownNameError

Scale = Literal["paper", "small"]
SCALES: tuple[Scale, ...] = ("paper", "small")

_FIVE = ("random", "magnitude", "snip", "grasp", "synflow")
_DECADES = tuple(10.0**n for n in range(1, 7))
_VGG = {"datasets": ("imagenet",), "models": ("imagenet/vgg19",), "pruners": _FIVE}
_SMALL = {"datasets": ("fashion-mnist",), "models": ("conv",), "pruners": _FIVE}
_BOTH: Mapping[Scale, Mapping[str, Any]] = {"paper": _VGG, "small": _SMALL}
_WITH_BIAS = ("pruning.prune_bias=true",)
"""A bias is part of what goes into its unit."""


@dataclass(frozen=True)
class Figure:
    """A figure from a study, or from the records of a suite.

    `study` is a study's name and `options` are those of its request; `suite` is a suite's name and `options`
    choose in it. One of the two is given for each scale.
    """

    name: str
    title: str
    study: str | None = None
    suites: Mapping[Scale, str] = field(default_factory=dict)
    options: Mapping[Scale, Mapping[str, Any]] = field(default_factory=lambda: {"paper": {}, "small": {}})
    critical: bool = False


FIGURES = {
    figure.name: figure
    for figure in (
        Figure(
            "fig1",
            "Accuracy and layer collapse",
            suites={"paper": "synflow-2020", "small": "synflow-2020-small"},
            options={
                "paper": {
                    "datasets": ("cifar100",),
                    "models": ("lottery/vgg16-bn",),
                    "compressions": (1, *(10 ** (n / 2) for n in range(1, 13))),
                },
                "small": {
                    "datasets": ("fashion-mnist",),
                    "models": ("fc",),
                    "compressions": (1, 10, 31.6228, 100, 316.228, 1000, 10000),
                },
            },
            critical=True,
        ),
        Figure(
            "fig2",
            "Where layers collapse",
            "layer-density",
            options={
                "paper": {**_VGG, "compressions": _DECADES},
                "small": {**_SMALL, "compressions": (10, 100, 1000, 10000)},
            },
        ),
        Figure(
            "fig3",
            "Conservation by unit",
            "unit-conservation",
            options={name: {**at, "assignments": _WITH_BIAS} for name, at in _BOTH.items()},
        ),
        Figure(
            "fig4", "Conservation by layer", "layer-conservation", options={"paper": _VGG, "small": _SMALL}
        ),
        Figure(
            "fig5a",
            "Iterative magnitude pruning",
            suites={"paper": "synflow-2020-imp", "small": "synflow-2020-imp-small"},
        ),
        Figure(
            "fig5b",
            "Layers through a training",
            "imp-conservation",
            options={
                "paper": {
                    "datasets": ("cifar10",),
                    "models": ("lottery/vgg19",),
                    "suite": "synflow-2020-imp",
                },
                "small": {
                    "datasets": ("fashion-mnist",),
                    "models": ("fc",),
                    "suite": "synflow-2020-imp-small",
                    "epochs": 8,
                },
            },
        ),
        Figure(
            "fig6",
            "Accuracy against compression",
            suites={"paper": "synflow-2020", "small": "synflow-2020-small"},
        ),
        Figure(
            "fig7",
            "How much a round may cut",
            "cut-ratio",
            options={
                "paper": {
                    **_VGG,
                    "pruners": ("synflow",),
                    "compressions": (10, 100, 1000, 10000),
                    "rounds": (1, 3, 10, 32, 100),
                },
                "small": {
                    **_SMALL,
                    "pruners": ("synflow",),
                    "compressions": (10, 100, 1000),
                    "rounds": (1, 3, 10, 32, 100),
                },
            },
        ),
    )
}
"""Figure 5 has two parts, each a figure here."""


def find_figure(name: str) -> Figure:
    """The figure of this name; raises `UnknownNameError`."""
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name]
