"""What was measured of one workload, and what that makes a cell."""

from __future__ import annotations

from statistics import fmean
from typing import Annotated

from pydantic import Field

from synflow_bench.speed._workload import Workload
from synflow_bench.suites import Cell, Multishot, Value

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]


class Speed(Value):
    """What one worker does of a workload.

    `training` has examples a second, of all networks together, by how many are trained as one; `evaluation`
    examples a second of one network; `pruning` seconds by a pruner's label; `setup_seconds` what a cell takes
    before and after; `memory_bytes` the peak of the process, or of the device's memory where it is a GPU's.
    `seconds_measured` says how long the measuring took, `measured` on which day it was.
    """

    workload: Workload
    training: Annotated[dict[int, Positive], Field(min_length=1)]
    evaluation: Positive
    pruning: dict[str, NotNegative]
    setup_seconds: NotNegative
    memory_bytes: int
    measured: str

    @property
    def most_together(self) -> int:
        """How many networks were trained as one, at most."""
        return max(self.training)

    @property
    def best_training(self) -> float:
        """Examples a second with as many networks as can be trained as one."""
        return self.training[self.most_together]

    def seconds(self, cell: Cell, sizes: tuple[int, int], together: int = 1) -> float:
        """Seconds that `cell` takes a worker which trains `together` cells as one: its share of theirs.

        `sizes` are those of its data set. A pruner that was not timed counts as the mean of those that were.
        """
        setting, epochs = cell.setting, cell.setting.total_epochs
        held_out = round(setting.recipe.validation_fraction * sizes[0])
        trained = epochs * (sizes[0] - held_out) * self.seconds_an_example(together)
        evaluated = (epochs + _trainings(cell)) * (held_out + sizes[1]) / self.evaluation
        return self.setup_seconds + _prunings(cell) * self.prune_seconds(cell) + trained + evaluated

    def seconds_an_example(self, together: int) -> float:
        """Seconds of training a network and example, with `together` networks as one.

        A step of g networks is taken to cost a + b g, through what was measured with one and with most.
        """
        alone, most = 1 / self.training[1], self.most_together
        if most == 1:
            return alone
        each = (most / self.training[most] - alone) / (most - 1)
        return (alone - each) / min(together, most) + each

    def prune_seconds(self, cell: Cell) -> float:
        """Seconds of one pruning by the cell's pruner."""
        if cell.is_dense or not self.pruning:
            return 0.0
        return self.pruning.get(cell.pruner.label, fmean(self.pruning.values()))


def _trainings(cell: Cell) -> int:
    """Every training is evaluated once before it begins."""
    protocol = cell.setting.protocol
    return protocol.levels + 1 if isinstance(protocol, Multishot) else 1 + bool(protocol.pre_epochs)


def _prunings(cell: Cell) -> int:
    protocol = cell.setting.protocol
    return protocol.levels if isinstance(protocol, Multishot) else 1
