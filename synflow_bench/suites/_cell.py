"""The unit of work, of caching and of failure."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from synflow_bench.names import DENSE
from synflow_bench.suites._model import Count, Integer, Value
from synflow_bench.suites._setting import Setting
from synflow_bench.suites._spec import PrunerSpec

Ablation = Literal["none", "shuffle", "reinit", "invert", "random-labels", "random-inputs"]


class Revisions(Value):
    """The revisions of what a cell uses: raised by authors when results change."""

    pruner: Integer = 1
    model: Integer = 1
    dataset: Integer = 1

    @cached_property
    def identity(self) -> dict[str, int]:
        """The numbers by name; kept, because thousands of cells share them."""
        return self.model_dump()


class Cell(Value):
    """One setting x pruner x compression x seed.

    `seed` is the repetition: equal seeds share initial weights, data order and augmentation in all pruners.
    """

    setting: Setting
    pruner: PrunerSpec
    compression: Annotated[float, Field(ge=1)]
    seed: Count
    ablation: Ablation = "none"
    revisions: Revisions = Revisions()

    @property
    def density(self) -> float:
        """The share of prunable weights to keep."""
        return 1 / self.compression

    @property
    def is_dense(self) -> bool:
        """Whether this is the unpruned network."""
        return self.pruner.name == DENSE

    @property
    def row(self) -> str:
        """The row of the board: the pruner's label, with the ablation where there is one."""
        label = self.pruner.label or self.pruner.name
        return label if self.ablation == "none" else f"{label} ({self.ablation})"

    @property
    def title(self) -> str:
        """The cell in a few words, for progress and errors."""
        return f"{self.setting.title} / {self.row} / compression {self.compression:g} / seed {self.seed}"

    def identity(self) -> dict[str, Any]:
        """The fields that decide the result, as plain JSON values; the setting as its digest."""
        return {
            "setting": self.setting.digest,
            "pruner": self.pruner.identity,
            "compression": self.compression,
            "seed": self.seed,
            "ablation": self.ablation,
            "revisions": self.revisions.identity,
        }


def dense_cell(setting: Setting, seed: int, revisions: Revisions) -> Cell:
    """The unpruned network of a setting: one cell a seed, shared by all pruners."""
    return Cell(
        setting=setting,
        pruner=PrunerSpec(name=DENSE, label=DENSE),
        compression=1,
        seed=seed,
        revisions=revisions.model_copy(update={"pruner": 1}),
    )
