"""The studies and the figures of the paper, by name. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench_studies.table import Columns, Row, check_columns, read_table

if TYPE_CHECKING:
    from synflow_bench_studies.request import Request

Scale = Literal["paper", "small"]
SCALES: tuple[Scale, ...] = ("paper", "small")

_DATA_FREE = ("random", "magnitude", "synflow")
_FIVE = ("random", "magnitude", "snip", "grasp", "synflow")
_DECADES = tuple(10.0**n for n in range(1, 7))
_VGG = {"datasets": ("imagenet",), "models": ("imagenet/vgg19",), "pruners": _FIVE}
_SMALL = {"datasets": ("fashion-mnist",), "models": ("conv",), "pruners": _FIVE}
_BOTH: Mapping[Scale, Mapping[str, Any]] = {"paper": _VGG, "small": _SMALL}
_WITH_BIAS = ("pruning.prune_bias=true",)
"""A bias is part of the score into its unit."""


@dataclass(frozen=True)
class Study:
    """One analysis of networks under pruning: rows of a table, and a chart of them.

    `make` and `draw` name functions of this package as "module:function"; the first yields the rows of a
    request, the second charts rows. `pruners`, `compressions`, `rounds` and `schedules` are the defaults of a
    request. A study that trains takes no compressions, rounds or schedules.
    """

    name: str
    help: str
    make: str
    draw: str
    columns: Columns
    pruners: tuple[str, ...]
    compressions: tuple[float, ...] = ()
    rounds: tuple[int, ...] = ()
    schedules: tuple[str, ...] = ()
    trains: bool = False

    def rows(self, request: Request) -> Iterator[Row]:
        """Yield the table row by row.

        Raises:
            HandledError: The request cannot be studied, or nothing that it asks for is defined.
        """
        has_rows = False
        for row in _function(self.make)(request):
            has_rows = True
            yield row
        if not has_rows:
            raise UsageError(
                f"{self.name} has no row for this request; choose other networks, pruners or compressions"
            )

    def read(self, path: Path) -> list[Row]:
        """Read an earlier table of this study.

        Raises:
            UsageError: The file cannot be read, or it is not a table of this study.
        """
        rows = read_table(path)
        check_columns(self.name, {name: study.columns for name, study in STUDIES.items()}, rows, str(path))
        return rows

    def chart(self, rows: Sequence[Row], lines: Sequence[str] = ()) -> Any:
        """Draw `rows` as an altair chart, with `lines` below its title."""
        return _function(self.draw)(rows, lines)


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, made from a study or from the records of a suite.

    `study` names the study and `options` are those of its request; otherwise `suites` names a suite per scale
    and `options` select from it. `critical` adds the critical compressions of the pruners.
    """

    name: str
    title: str
    study: str | None = None
    suites: Mapping[Scale, str] = field(default_factory=dict)
    options: Mapping[Scale, Mapping[str, Any]] = field(default_factory=lambda: {"paper": {}, "small": {}})
    critical: bool = False


def find_study(name: str) -> Study:
    """Return the study of this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES)
    return STUDIES[name]


def find_figure(name: str) -> Figure:
    """Return the figure of this name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in FIGURES:
        raise UnknownNameError("figure", name, FIGURES)
    return FIGURES[name]


def _function(reference: str) -> Callable[..., Any]:
    module, _, name = reference.partition(":")
    function: Callable[..., Any] = getattr(import_module(f"synflow_bench_studies.{module}"), name)
    return function


STUDIES = {
    study.name: study
    for study in (
        Study(
            "layer-density",
            "Share of weights kept in each layer: figure 2 of Tanaka et al. 2020",
            "layer_density:density_rows",
            "layer_density:density_chart",
            Columns(("compression", "index", "size", "kept", "density"), ("layer",)),
            _DATA_FREE,
            compressions=(10, 100, 1000),
        ),
        Study(
            "unit-conservation",
            "Score into and out of each hidden unit: figure 3",
            "conservation:unit_rows",
            "conservation:unit_chart",
            Columns(("compression", "score_in", "score_out"), ("layer", "unit", "relative_error")),
            ("magnitude", "synflow"),
            compressions=(1,),
        ),
        Study(
            "layer-conservation",
            "Mean score of each layer against its size: figure 4",
            "conservation:layer_rows",
            "conservation:layer_chart",
            Columns(
                ("compression", "size", "score_sum", "mean_score"),
                ("index", "layer", "total_flow", "relative_error"),
            ),
            _DATA_FREE,
            compressions=(1,),
        ),
        Study(
            "imp-conservation",
            "Mean score of each layer during training: figure 5b",
            "conservation:training_rows",
            "conservation:training_chart",
            Columns(("epoch", "size", "mean_square"), ("test_top1", "layer", "mean_score")),
            ("magnitude",),
            trains=True,
        ),
        Study(
            "cut-ratio",
            "Score removed by a round of pruning over the total flow: figure 7",
            "cut_ratio:cut_rows",
            "cut_ratio:cut_chart",
            Columns(("rounds", "compression", "rounds_with_flow"), ("cut_ratio",)),
            ("synflow",),
            compressions=(10, 100, 1000),
            rounds=(1, 10, 100),
            schedules=("linear", "exponential"),
        ),
    )
}

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
            "Layers during training",
            "imp-conservation",
            options={
                "paper": {
                    "datasets": ("cifar10",),
                    "models": ("lottery/vgg19",),
                    "suite": "synflow-2020-imp-conservation",
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
