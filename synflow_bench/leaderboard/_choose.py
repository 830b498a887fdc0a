"""The records that a reader asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol, TypeVar

from synflow_bench.errors import RecordError, UnknownNameError
from synflow_bench.suites import Cell


class HasCell(Protocol):
    """A record, or a result."""

    @property
    def cell(self) -> Cell:
        """What was asked for."""


R = TypeVar("R", bound=HasCell)


def choose(
    records: Iterable[R],
    *,
    datasets: Collection[str] = (),
    models: Collection[str] = (),
    pruners: Collection[str] = (),
) -> list[R]:
    """The records of the named data sets, models and pruners; an empty choice is all.

    A pruner is named as such, or by its row's label. The dense network stays, as what all are compared with.
    Raises `UnknownNameError` for a name that no record has, `RecordError` when nothing is left.
    """
    kept = list(records)
    every = list(kept)
    for kind, wanted, names in _questions(datasets, models, pruners):
        _must_be_known(kind, wanted, every, names)
        if wanted:
            kept = [r for r in kept if names(r) & set(wanted) or (kind == "pruner" and r.cell.is_dense)]
    if every and not kept:
        raise RecordError(
            f"no record has all of {', '.join([*datasets, *models, *pruners])}; ask for less at once"
        )
    return kept


Names = Callable[[HasCell], set[str]]


def _questions(
    datasets: Collection[str], models: Collection[str], pruners: Collection[str]
) -> list[tuple[str, Collection[str], Names]]:
    return [
        ("dataset", datasets, lambda record: {record.cell.setting.dataset}),
        ("model", models, lambda record: {record.cell.setting.model.name}),
        ("pruner", pruners, lambda record: {record.cell.pruner.name, record.cell.row}),
    ]


def _must_be_known(kind: str, wanted: Collection[str], records: Sequence[HasCell], names: Names) -> None:
    known = set[str]().union(*map(names, records))
    for name in wanted:
        if name not in known:
            raise UnknownNameError(f"recorded {kind}", name, known)
