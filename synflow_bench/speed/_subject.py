"""The parts of a cell of one setting, each done as a run does it and timed."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from synflow_bench.protocols import Bench, Network, everything, examples_of, may_share, network_of, size_of
from synflow_bench.pruning import prunable_parameters
from synflow_bench.records import Epoch
from synflow_bench.speed._clock import Clock
from synflow_bench.suites import Cell, Recipe, Revisions, Setting, dense_cell
from synflow_bench.training import Examples, LoadedData, LoadedSplit, Streams, Training, train_together
from synflow_bench.training.evaluate import evaluate
from synflow_bench.training.precision import Precision

KEPT = 0.1
EPOCHS = 4


@dataclass(frozen=True)
class Subject:
    """A setting on a bench, whose data may be made up or a sample: they are taken again and again."""

    setting: Setting
    bench: Bench
    clock: Clock

    @cached_property
    def cell(self) -> Cell:
        """The dense cell of the setting."""
        return dense_cell(self.setting, 0, Revisions())

    @property
    def data(self) -> LoadedData:
        """The bench's data."""
        return self.bench.data(self.setting.dataset)

    @cached_property
    def shares(self) -> bool:
        """Whether cells of the setting are trained together."""
        return may_share(self.cell, self.bench)

    @cached_property
    def network(self) -> Network:
        """One network for all that is timed: nothing here depends on the values of its weights."""
        return network_of(self.cell, self.bench, "init")

    def setup_seconds(self) -> float:
        """Seconds of what a cell does besides: its network, how units feed each other, and its sizes."""
        started = self.clock(self.bench.device)
        examples_of(self.cell, self.bench)
        network = network_of(self.cell, self.bench, "init")
        size_of(network, everything(self.cell, network))
        return self.clock(self.bench.device) - started

    def train_seconds(self, networks: int, steps: int, batch: int) -> float:
        """Seconds of `steps` steps of `networks` trained as one: the least of the epochs after the first.

        Whatever else the machine does makes an epoch longer, never shorter.
        """
        marks: list[float] = []
        models = [self.network.model, *(deepcopy(self.network.model) for _ in range(networks - 1))]
        trainings = [self._training(model, steps * batch, batch) for model in models]
        trainings[0] = replace(trainings[0], on_epoch=partial(self._mark, marks))
        train_together(trainings)
        return min(after - before for before, after in pairwise(marks[1:]))

    def evaluate_seconds(self, examples: int) -> float:
        """Seconds of an evaluation of one network."""
        network, split = self.network.model, self._of(self.data.test, examples)
        precision = Precision.of(self.setting.recipe, self.bench.device)
        started = self.clock(self.bench.device)
        evaluate(precision.lay_out(network), split, precision)
        return self.clock(self.bench.device) - started

    def _training(self, model: nn.Module, examples: int, batch: int) -> Training:
        data = self.data
        train = self._of(data.train, examples)
        return Training(
            model=model,
            masks=_random_masks(model, self.setting),
            recipe=_short(self.setting.recipe, batch, examples // batch),
            examples=Examples(train, None, self._of(data.test, 1), data.augmentation),
            streams=Streams(torch.Generator(), torch.Generator()),
        )

    def _mark(self, marks: list[float], _epoch: Epoch) -> None:
        marks.append(self.clock(self.bench.device))

    def _of(self, split: LoadedSplit, examples: int) -> LoadedSplit:
        return split.take(torch.arange(examples) % len(split))


def _short(recipe: Recipe, batch: int, steps: int) -> Recipe:
    """A few epochs with steps so small that nothing diverges; CUDA graphs are recorded in the second step."""
    epochs = 2 if steps == 1 and recipe.compile == "no" else EPOCHS
    changes = {"epochs": epochs, "warmup_epochs": 0, "lr": 1e-6, "batch_size": batch}
    return recipe.model_copy(update=changes)


def _random_masks(model: nn.Module, setting: Setting) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(0)
    found = prunable_parameters(model, setting.pruning, called=f"model {setting.model.name!r}")
    return {name: (torch.rand(p.shape, generator=draw) < KEPT).to(p.device) for name, p in found.items()}
