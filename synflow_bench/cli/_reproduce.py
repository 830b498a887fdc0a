"""The rows and the chart of a published figure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synflow_bench.cli._study import request_of
from synflow_bench.execution import Resources
from synflow_bench.host import Host
from synflow_bench.studies import Figure, Row, Scale, find_study
from synflow_bench.studies._published import CITATION, published_densities

_NOTHING: Mapping[str, Any] = {
    "input_shape": None,
    "classes": None,
    "compressions": (),
    "rounds": (),
    "schedules": (),
    "pruners": (),
    "seeds": (),
    "suite": "quick",
    "epochs": None,
    "assignments": (),
}


@dataclass(frozen=True)
class Where:
    """Where cells run, and where their records and data lie."""

    results: Path
    data: Path
    executor: str
    workers: int | None
    threads: int
    device: str

    def resources(self, host: Host) -> Resources:
        """For an executor; `host` has the plugin files that its workers load too."""
        return Resources(self.data, self.device, self.workers or 0, self.threads, host.files)


@dataclass(frozen=True)
class Drawn:
    """What a figure came to; `chart` draws it."""

    rows: list[Row]
    chart: Callable[[], Any]
    exit_code: int = 0


def from_study(figure: Figure, scale: Scale, host: Host, where: Where) -> Drawn:
    """A figure whose networks are only looked at; raises `DataMissingError` where data are not there."""
    study = find_study(str(figure.study))
    place = {"threads": where.threads, "device": where.device, "data": where.data}
    options = {**_NOTHING, **figure.options[scale], **place}
    request = request_of(study, host, **options)
    rows = list(study.rows(request))
    lines = scale_lines(figure, scale)
    if figure.study == "layer-density" and scale == "paper":
        beside = {**options, "datasets": ("cifar100",), "models": ("lottery/vgg16-bn",)}
        beside |= {"compressions": (10, 100, 1000), "pruners": study.pruners}
        rows += [*study.rows(request_of(study, host, **beside)), *published_densities()]
        lines += CITATION[:1]
    return Drawn(rows, lambda: study.chart(rows, lines))


def scale_lines(figure: Figure, scale: Scale) -> list[str]:
    """What must be said of a figure at another scale than the paper's."""
    if scale == "paper":
        return []
    return [f"scale small: the form of {figure.name}, not its networks, data or epochs"]
