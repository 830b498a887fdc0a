"""Published accuracies, which are shown beside ours and never ranked with them."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from synflow_bench.leaderboard.statistics import Estimate, estimate

CITATION = (
    "Tanaka, Kunin, Yamins, Ganguli 2020, Pruning neural networks without any data by iteratively conserving "
    "synaptic flow, arXiv 2006.05467, figure 6"
)
METRIC = "max_test"
NOTES = (
    "metric max_test: the best test top-1 over all epochs, chosen on the test set; our boards show that of "
    "the final epoch, which is lower",
    "grasp is suspect: its runs predate the correction of a sign in the authors' code",
)
_TABLE = Path(__file__).parent / "tanaka2020.csv"
_SUSPECT = frozenset({"grasp"})


@dataclass(frozen=True)
class PublishedRow:
    """The published accuracies of one pruner: shares in [0, 1] by compression, over the published runs."""

    pruner: str
    accuracy: dict[float, Estimate]
    suspect: bool

    @property
    def label(self) -> str:
        """The pruner, marked where its numbers are suspect."""
        return f"{self.pruner} (suspect)" if self.suspect else self.pruner


@dataclass(frozen=True)
class PublishedTable:
    """The published accuracies for one dataset and network.

    Attributes:
        dataset: The name of the dataset.
        model: The network that was really trained.
        reported_model: The paper's name for it.
        metric: The accuracy that was published.
        citation: The source.
        notes: Known faults of the numbers.
        compressions: All compressions of the table.
        rows: One row per pruner.
    """

    dataset: str
    model: str
    reported_model: str
    metric: str
    citation: str
    notes: tuple[str, ...]
    compressions: tuple[float, ...]
    rows: tuple[PublishedRow, ...]

    @property
    def title(self) -> str:
        """`dataset / model`, with the paper's name of the network where it differs."""
        renamed = "" if self.model == self.reported_model else f", reported as {self.reported_model}"
        return f"Published: {self.dataset} / {self.model}{renamed}"


def published_tables() -> tuple[PublishedTable, ...]:
    """Return the published tables that come with synflow-bench, one per published setting."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    by_setting = groupby(lines, key=lambda line: (line["dataset"], line["model"], line["reported_model"]))
    return tuple(_table(*names, list(group)) for names, group in by_setting)


def _table(dataset: str, model: str, reported: str, lines: list[dict[str, str]]) -> PublishedTable:
    misnamed = f"reported as {reported}, but the authors' block ignored its width: the network is {model}"
    return PublishedTable(
        dataset=dataset,
        model=model,
        reported_model=reported,
        metric=METRIC,
        citation=CITATION,
        notes=NOTES if model == reported else (*NOTES, misnamed),
        compressions=tuple(sorted({float(line["compression"]) for line in lines})),
        rows=tuple(
            PublishedRow(pruner, dict(map(_accuracy, group)), pruner in _SUSPECT)
            for pruner, group in groupby(lines, key=lambda line: line["pruner"])
        ),
    )


def _accuracy(line: Mapping[str, str]) -> tuple[float, Estimate]:
    runs: Iterable[str] = (line["run1"], line["run2"], line["run3"])
    return float(line["compression"]), estimate([float(run) / 100 for run in runs])
