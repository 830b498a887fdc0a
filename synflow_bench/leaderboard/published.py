"""Numbers that papers published, with their sources; shown beside ours and never ranked with them."""

from __future__ import annotations

import csv
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.leaderboard.statistics import Estimate, estimate, mean, variance

Epoch = Literal["final_test", "max_test", "test"]
"""The epoch of a published accuracy: the last, the best on the test set, or one that is not stated."""
Spread = Literal["", "sd", "se", "unstated"]
"""The kind of a published spread: none, a standard deviation, a standard error, or one that is not stated."""

EPOCHS: Mapping[Epoch, str] = {
    "final_test": "test top-1 after the final epoch",
    "max_test": "the best test top-1 over all epochs, chosen on the test set",
    "test": "test top-1 of an epoch that is not stated",
}
_CURVES_NOTE = (
    "metric max_test: the best test top-1 over all epochs, chosen on the test set; our boards show that of "
    "the final epoch, which is lower"
)
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedSource:
    """A table or figure of a paper, or of its official code, and the place where it was read.

    Attributes:
        name: A short name, which begins with that of the paper.
        paper: A short name of the paper, such as `tanaka2020`.
        short: The first author and the year, such as `Tanaka et al. 2020`.
        citation: The authors, year and title.
        arxiv: The arXiv number; empty if it is not known.
        where: The table or figure.
        read: The repository and file, or the text, in which the numbers were read.
        metric: The epoch of the accuracy.
        spread: The kind of its spread.
        seeds: The number of runs of each number; None where it is not stated.
        recipe: The fields of the training recipe that are stated.
        protocol: The fields of the protocol that are stated, as in a suite: `epochs` and `lr` of fine-tuning,
            `levels`, `rewind` and `pre_epochs` of iterative pruning.
        notes: Further facts that decide how the numbers compare with others.
        flaw: A known fault of the numbers of the pruners in `suspect`.
        suspect: The pruners whose numbers are not trusted.
        curves: True if it has every run of every number, over many compressions.
    """

    name: str
    paper: str
    short: str
    citation: str
    arxiv: str
    where: str
    read: str
    metric: Epoch
    spread: Spread = ""
    seeds: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    protocol: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    flaw: str = ""
    suspect: tuple[str, ...] = ()
    curves: bool = False

    @property
    def cited(self) -> str:
        """The paper with its arXiv number, and the table or figure."""
        number = f", arXiv {self.arxiv}" if self.arxiv else ""
        return f"{self.citation}{number}, {self.where}"


@dataclass(frozen=True)
class PublishedNumber:
    """One published accuracy with its setting.

    Attributes:
        id: The name of its source and its place in it.
        source: The table or figure.
        dataset: The dataset, as it is named here.
        model: The network, as it is named here; empty if there is none that equals it.
        reported_model: The paper's name of the network.
        method: The paper's name of the method, with its variant.
        pruner: The label of the row that has this method here; empty if there is none.
        protocol: The time of pruning, such as `at initialization`.
        given: The compression as it was published, such as `sparsity 0.9`.
        compression: The compression ratio that this is.
        top1: The accuracy, a share in [0, 1].
        spread: Its spread, a share; None where there is none.
        runs: The accuracy of every run, where these are published.
    """

    id: str
    source: PublishedSource
    dataset: str
    model: str
    reported_model: str
    method: str
    pruner: str
    protocol: str
    given: str
    compression: float
    top1: float
    spread: float | None = None
    runs: tuple[float, ...] = ()

    @property
    def seeds(self) -> int | None:
        """The number of runs; None where it is not stated."""
        return len(self.runs) or self.source.seeds

    @property
    def flaw(self) -> str:
        """A known fault of this number; empty if there is none."""
        return self.source.flaw if self.pruner in self.source.suspect else ""


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


@cache
def published_numbers() -> tuple[PublishedNumber, ...]:
    """Return all published numbers that come with synflow-bench, in the order of their sources.

    Example:
        >>> from synflow_bench.leaderboard import published_numbers
        >>> number = published_numbers()[0]
        >>> number.id, number.source.arxiv, number.dataset, number.method
        ('tanaka2020-vgg-1', '2006.05467', 'cifar100', 'SNIP')
    """
    sources = _sources()
    with (_FOLDER / "published.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    places: dict[str, int] = {}
    numbers = []
    for line in lines:
        name = line["source"]
        places[name] = places.get(name, 0) + 1
        numbers.append(_number(f"{name}-{places[name]}", sources[name], line))
    return tuple(numbers)


def choose_numbers(
    numbers: Iterable[PublishedNumber],
    *,
    datasets: Collection[str] = (),
    models: Collection[str] = (),
    pruners: Collection[str] = (),
) -> list[PublishedNumber]:
    """Return the numbers of the named datasets, networks and methods; an empty choice means all.

    Networks and methods are named as they are here, or as the papers name them.

    Raises:
        UnknownNameError: No number has one of the names.
        UsageError: No number has all of them.
    """
    kept = every = list(numbers)
    choices = {"dataset": datasets, "network": models, "method": pruners}
    for kind, names in choices.items():
        known = set[str]().union(*(_names(number, kind) for number in every))
        if unknown := [name for name in names if name not in known]:
            raise UnknownNameError(f"published {kind}", unknown[0], known)
        kept = [number for number in kept if not names or _names(number, kind) & set(names)]
    if every and not kept:
        named = ", ".join(name for names in choices.values() for name in names)
        raise UsageError(f"no published number has all of {named}; name fewer at once")
    return kept


def _names(number: PublishedNumber, kind: str) -> set[str]:
    names = {
        "dataset": {number.dataset},
        "network": {number.model, number.reported_model},
        "method": {number.pruner, number.method},
    }
    return names[kind] - {""}


def published_tables() -> tuple[PublishedTable, ...]:
    """Return the sources that have every run, as tables: one per dataset and network."""
    numbers = [number for number in published_numbers() if number.source.curves]
    return tuple(
        _table(*place, list(group))
        for place, group in groupby(numbers, key=lambda each: (each.dataset, each.model, each.reported_model))
    )


def _sources() -> dict[str, PublishedSource]:
    with (_FOLDER / "published.toml").open("rb") as file:
        content = tomllib.load(file)
    papers = content["papers"]
    return {
        name: PublishedSource(name=name, **{"arxiv": "", **papers[values["paper"]]}, **_frozen(values))
        for name, values in content["sources"].items()
    }


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of TOML with tuples in place of its lists, as recipes and sources have them."""
    return {
        key: _frozen(value) if isinstance(value, dict) else tuple(value) if isinstance(value, list) else value
        for key, value in values.items()
    }


def _number(name: str, source: PublishedSource, line: Mapping[str, str]) -> PublishedNumber:
    """Return one number; with every run, its mean and standard deviation are those of the runs."""
    text = ("dataset", "model", "reported_model", "method", "pruner", "protocol", "given")
    runs = tuple(float(run) / 100 for run in line["runs"].split(";") if run)
    spread = float(line["spread"]) / 100 if line["spread"] else None
    return PublishedNumber(
        id=name,
        source=source,
        **{key: line[key] for key in text},
        compression=float(line["compression"]),
        top1=mean(runs) if runs else float(line["top1"]) / 100,
        spread=math.sqrt(variance(runs)) if runs else spread,
        runs=runs,
    )


def _table(dataset: str, model: str, reported: str, numbers: Sequence[PublishedNumber]) -> PublishedTable:
    source = numbers[0].source
    notes = [_CURVES_NOTE, *(f"{pruner} is suspect: {source.flaw}" for pruner in source.suspect)]
    if model != reported:
        notes.append(
            f"reported as {reported}, but the authors' block ignored its width: the network is {model}"
        )
    number = f", arXiv {source.arxiv}"
    return PublishedTable(
        dataset=dataset,
        model=model,
        reported_model=reported,
        metric=source.metric,
        citation=f"{source.citation}{number}, {source.where.partition(',')[0]}",
        notes=tuple(notes),
        compressions=tuple(sorted({each.compression for each in numbers})),
        rows=tuple(
            PublishedRow(pruner, dict(map(_accuracy, group)), bool(source.flaw and pruner in source.suspect))
            for pruner, group in groupby(numbers, key=lambda each: each.pruner)
        ),
    )


def _accuracy(number: PublishedNumber) -> tuple[float, Estimate]:
    return number.compression, estimate(number.runs)
