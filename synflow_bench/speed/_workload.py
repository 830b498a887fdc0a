"""What decides how long a step, an evaluation or a pruning takes."""

from __future__ import annotations

from typing import Self

from synflow_bench.data import Dataset
from synflow_bench.suites import ModelSpec, PruningOptions, Setting, Value


class Workload(Value):
    """A network, the form of its data, and the parts of a recipe that cost time.

    How many examples and epochs there are is left out: they multiply. So is which data set it is: those of
    one form cost the same.
    """

    model: ModelSpec
    input_shape: tuple[int, int, int]
    num_classes: int
    batch_size: int
    optimizer: str
    precision: str
    channels_last: bool
    clipped: bool
    augmented: bool
    pruning: PruningOptions
    compile: str = "no"

    @classmethod
    def of(cls, setting: Setting, dataset: type[Dataset]) -> Self:
        """The workload of `setting`, by what its data set declares."""
        recipe = setting.recipe
        return cls(
            model=setting.model,
            input_shape=dataset.input_shape,
            num_classes=dataset.num_classes,
            batch_size=recipe.batch_size,
            optimizer=recipe.optimizer,
            precision=recipe.precision,
            channels_last=recipe.channels_last,
            clipped=recipe.gradient_clip is not None,
            augmented=recipe.augment and dataset.augmentation is not None,
            pruning=setting.pruning,
            compile=recipe.compile,
        )

    @property
    def title(self) -> str:
        """`fc on 1x28x28, 10 classes, batch 64`."""
        shape = "x".join(map(str, self.input_shape))
        return f"{self.model.name} on {shape}, {self.num_classes} classes, batch {self.batch_size}"
