"""GPU seconds of every cell of a suite, from its multiply-accumulates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from synflow_bench.execution import cells_of, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.metrics import uses_of_weights
from synflow_bench.suites import Cell, Setting, Suite

BACKWARD = 2
"""A backward pass takes twice a forward pass: one product for the inputs, one for the weights."""


@dataclass(frozen=True)
class Costs:
    """`seconds` of a cell of each setting, by its digest; `macs` of one example."""

    cells: list[Cell]
    macs: Mapping[str, int]
    seconds: Mapping[str, float]

    @property
    def each(self) -> list[float]:
        """Seconds of every cell, in the order of the suite."""
        return [self.seconds[cell.setting.digest] for cell in self.cells]


def costs_of(suite_name: str, tflops: float) -> Costs:
    """The cells of an installed suite with its own pruners, at so many sustained TFLOP/s.

    Training and evaluation after every epoch are counted, pruning is not: of 100 rounds of synflow, each is a
    forward and a backward pass of one example.
    """
    host = Host.load()
    suite: Suite = host.suites.get(suite_name)
    macs = {setting.digest: macs_of(setting, host) for setting in suite.settings}
    seconds = {
        setting.digest: flops_of(setting, macs[setting.digest], host) / (tflops * 1e12)
        for setting in suite.settings
    }
    return Costs(cells_of(suite, resolve_pruners(suite.pruners, host), host), macs, seconds)


def macs_of(setting: Setting, host: Host) -> int:
    """Multiply-accumulates of the network of a setting for one example."""
    dataset = host.datasets.get(setting.dataset)
    model = host.models.get(setting.model.name)(dataset.input_shape, dataset.num_classes)
    uses, _ = uses_of_weights(model, torch.zeros(1, *dataset.input_shape))
    return sum(number * model.get_parameter(name).numel() for name, number in uses.items())


def flops_of(setting: Setting, macs: int, host: Host) -> float:
    """Floating-point operations of a cell: all training, and validation and test after every epoch."""
    images, test = host.datasets.get(setting.dataset).sizes
    held_out = setting.recipe.validation_fraction * images
    passes = (1 + BACKWARD) * (images - held_out) + held_out + test
    return 2.0 * macs * passes * setting.total_epochs
