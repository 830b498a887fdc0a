"""Cells: the unit of work, of caching and of failure, and the seeds of their random numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from typing import Annotated, Any, Literal

from pydantic import Field

from synflow_bench.errors import DENSE, UsageError
from synflow_bench.suites.setting import Setting
from synflow_bench.suites.spec import PrunerSpec
from synflow_bench.suites.values import NUMBER, Count, Integer, Value

Ablation = Literal["none", "shuffle", "reinit", "invert", "random-labels", "random-inputs"]

Purpose = Literal["init", "data", "augment", "split", "score", "pruner", "ablation", "update"]
"""A use of random numbers, which has a seed of its own."""


def compression_of_sparsity(sparsity: float) -> float:
    """Convert a sparsity, the share of removed weights, to a compression ratio, 1 / (1 - sparsity).

    The sparsity is taken as the decimal number that it is written as, so that 0.9 is exactly compression 10.

    Args:
        sparsity: A number from 0 up to, but not including, 1.

    Raises:
        UsageError: The sparsity is no number in [0, 1).

    Example:
        >>> compression_of_sparsity(0.9), compression_of_sparsity(0.99), compression_of_sparsity(0)
        (10.0, 100.0, 1.0)
    """
    if isinstance(sparsity, bool) or not 0 <= sparsity < 1:
        raise UsageError(f"sparsity {sparsity} is not in [0, 1); 0.9 removes nine weights in ten")
    return float(1 / (1 - Fraction(str(sparsity))))


class Revisions(Value):
    """The revisions of a cell's pruner, model and dataset; their authors raise them when results change."""

    pruner: Integer = 1
    model: Integer = 1
    dataset: Integer = 1

    @cached_property
    def identity(self) -> dict[str, int]:
        """The numbers by name; cached, because thousands of cells share them."""
        return self.model_dump()


class Cell(Value):
    """One setting x pruner x compression x seed.

    `compression` is prunable over kept weights. `seed` is the repetition: at equal seeds, all pruners share
    initial weights, data order and augmentation. `ablation` changes the masks, the weights or the data of a
    pruner, to test whether its choice of weights matters.
    """

    setting: Setting
    pruner: PrunerSpec
    compression: Annotated[float, Field(ge=1, strict=True), NUMBER]
    seed: Count
    ablation: Ablation = "none"
    revisions: Revisions = Revisions()

    @property
    def density(self) -> float:
        """The share of prunable weights to keep."""
        return 1 / self.compression

    @property
    def is_dense(self) -> bool:
        """True for the unpruned network."""
        return self.pruner.name == DENSE

    @property
    def row(self) -> str:
        """The row of the board: the pruner's title, with the ablation if there is one."""
        label = self.pruner.title
        return label if self.ablation == "none" else f"{label} ({self.ablation})"

    @property
    def title(self) -> str:
        """The cell in a few words, for errors; `CellTitles` also tells settings of one title apart."""
        return f"{self.setting.title} / {self.row} / compression {self.compression:g} / seed {self.seed}"

    def identity(self) -> dict[str, Any]:
        """Return the fields that decide the result, as plain JSON values; the setting as its digest."""
        return {
            "setting": self.setting.digest,
            "pruner": self.pruner.identity,
            "compression": self.compression,
            "seed": self.seed,
            "ablation": self.ablation,
            "revisions": self.revisions.identity,
        }


def dense_cell(setting: Setting, seed: int, revisions: Revisions) -> Cell:
    """Return the cell of the unpruned network, which all pruners share: one per setting and seed."""
    return Cell(
        setting=setting,
        pruner=PrunerSpec(name=DENSE, label=DENSE),
        compression=1,
        seed=seed,
        revisions=revisions.model_copy(update={"pruner": 1}),
    )


class CellTitles:
    """The titles of cells of several settings; with the id of the setting where another has its title.

    Settings that differ in a tuned value, in the levels of a protocol or in granularity have one title.

    Args:
        cells: The cells, at least one of every setting.

    Example:
        >>> from synflow_bench.suites import Setting
        >>> cells = [
        ...     dense_cell(Setting(dataset="digits", model="fc", recipe={"epochs": epochs}), 0, Revisions())
        ...     for epochs in (1, 2)
        ... ]
        >>> CellTitles(cells[:1]).of(cells[0])
        'digits / fc / dense / compression 1 / seed 0'
        >>> len({CellTitles(cells).of(cell) for cell in cells})
        2
    """

    def __init__(self, cells: Iterable[Cell]) -> None:
        settings = {cell.setting.digest: cell.setting.title for cell in cells}
        self._shared = {title for title, number in Counter(settings.values()).items() if number > 1}

    def of(self, cell: Cell) -> str:
        """Return the title of a cell of one of the settings."""
        return self.of_setting(cell.setting) + cell.title.removeprefix(cell.setting.title)

    def of_setting(self, setting: Setting) -> str:
        """Return the title of one of the settings."""
        return f"{setting.title} ({setting.id})" if setting.title in self._shared else setting.title


def seed_of(cell: Cell, purpose: Purpose) -> int:
    """Return the seed, below 2**63, for one purpose of a cell.

    The pruner's name enters only the purposes `pruner`, `ablation` and `update`: at one repetition all
    pruners share initial weights, data order and augmentation, so that differences between them are paired.
    The validation split is the same in all repetitions.
    """
    setting = cell.setting
    parts = [setting.root_seed, purpose, setting.dataset]
    if purpose != "split":
        parts += [setting.model.name, cell.seed]
    if purpose in ("pruner", "ablation", "update"):
        parts.append(cell.pruner.name)
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
