"""What a study was asked for: networks, pruners, and how far to prune."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from synflow_bench.errors import UsageError
from synflow_bench.protocols import Bench
from synflow_bench.pruning import Pruner, resolve_pruner
from synflow_bench.studies._subject import Subject
from synflow_bench.studies._table import Row
from synflow_bench.suites import Cell, PrunerSpec, Revisions, Setting


@dataclass(frozen=True)
class Request:
    """Settings x seeds are the networks; the pruners are those named, each with each of `rounds` and
    `schedules` where these are given. `input_shape` and `classes` stand for a data set that there is none of.
    """

    bench: Bench
    settings: Sequence[Setting]
    pruners: Sequence[PrunerSpec]
    compressions: Sequence[float] = (1,)
    rounds: Sequence[int] = ()
    schedules: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    input_shape: tuple[int, int, int] | None = None
    classes: int = 10

    def subjects(self) -> Iterator[Subject]:
        """Every network, one after another; raises `DataMissingError` where a pruner lacks its data."""
        self._check_data()
        pruner, revisions = self.pruners[0], Revisions()
        for setting, seed in product(self.settings, self.seeds):
            cell = Cell(setting=setting, pruner=pruner, compression=1, seed=seed, revisions=revisions)
            yield Subject(self.bench, cell, self.input_shape, self.classes)

    def variants(self) -> list[Variant]:
        """Every pruner with every number of rounds and schedule."""
        return [
            self._variant(spec, {name: value for name, value in given.items() if value is not None})
            for spec in self.pruners
            for rounds, schedule in product(self.rounds or (None,), self.schedules or (None,))
            for given in [{"rounds": rounds, "schedule": schedule}]
        ]

    def _variant(self, spec: PrunerSpec, given: dict[str, int | str]) -> Variant:
        kind = self.bench.host.pruners.get(spec.name)
        own = {name: value for name, value in spec.parameters.items() if name not in given}
        _, plain = resolve_pruner(kind, spec.model_copy(update={"parameters": own}))
        pruner, full = resolve_pruner(kind, spec.model_copy(update={"parameters": {**own, **given}}))
        return Variant(plain.label, full, pruner)

    def _check_data(self) -> None:
        wanting = [variant.label for variant in self.variants() if variant.pruner.needs_data]
        if wanting and self.input_shape:
            raise UsageError(f"pruner {wanting[0]!r} scores with data; name a data set with --dataset")
        for setting in self.settings if wanting else ():
            self.bench.data(setting.dataset)


@dataclass(frozen=True)
class Variant:
    """A pruner of a request; `label` tells what the columns of rounds and schedule do not."""

    label: str
    spec: PrunerSpec
    pruner: Pruner

    @property
    def columns(self) -> Row:
        """What names the variant in a table."""
        return {"pruner": self.label, "rounds": self.pruner.rounds, "schedule": self.pruner.schedule}
