"""The records that a reader asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from synflow_bench.errors import RecordError, UnknownNameError
from synflow_bench.records import Record


def choose(
    records: Iterable[Record],
    *,
    datasets: Collection[str] = (),
    models: Collection[str] = (),
    pruners: Collection[str] = (),
) -> list[Record]:
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


Names = Callable[[Record], set[str]]


def _questions(
    datasets: Collection[str], models: Collection[str], pruners: Collection[str]
) -> list[tuple[str, Collection[str], Names]]:
    return [
        ("dataset", datasets, lambda record: {record.cell.setting.dataset}),
        ("model", models, lambda record: {record.cell.setting.model.name}),
        ("pruner", pruners, lambda record: {record.cell.pruner.name, record.cell.row}),
    ]


def _must_be_known(kind: str, wanted: Collection[str], records: list[Record], names: Names) -> None:
    known = set[str]().union(*map(names, records))
    for name in wanted:
        if name not in known:
            raise UnknownNameError(f"recorded {kind}", name, known)
