"""Protocols: the order of trainings and prunings in a cell."""

from __future__ import annotations

from bisect import bisect_right
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from synflow_bench.errors import count
from synflow_bench.suites.recipe import Recipe
from synflow_bench.suites.spec import label_of
from synflow_bench.suites.values import NUMBER, Count, Positive, Value


def _rewind(value: Any) -> Any:
    step = int(value) if isinstance(value, str) and value.isdecimal() else value
    if step in ("init", "lr") or (isinstance(step, int) and not isinstance(step, bool) and step >= 0):
        return step or "init"
    raise ValueError(f"rewind is 'init', 'lr' or an optimizer step such as 500, not {value!r}")


Rewind = Annotated[Literal["init", "lr"] | Positive, BeforeValidator(_rewind)]
"""The state that kept weights are rewound to: `init`, an optimizer step or, with `lr`, the present one."""


class Singleshot(Value):
    """One-shot protocol: train `pre_epochs`, prune once, train the recipe's epochs.

    With `pre_epochs` zero, this is pruning at initialization.
    """

    title: ClassVar[str] = ""
    """The protocol in the title of a setting; empty for the default one."""
    levels: ClassVar[int] = 0
    """The number of prunings of trained weights, each followed by rewinding."""
    step: ClassVar[int | None] = None
    """The optimizer step that weights are rewound to, or None if they are not rewound."""

    name: Literal["singleshot"] = "singleshot"
    pre_epochs: Count = 0

    @property
    def label(self) -> str:
        """The protocol as `parse_pruner` reads it after an @."""
        return _label(self)

    @model_validator(mode="before")
    @classmethod
    def _has_no_levels(cls, value: Any) -> Any:
        if given := [name for name in ("levels", "rewind") if isinstance(value, dict) and name in value]:
            raise ValueError(
                f"{', '.join(given)}: no effect with protocol 'singleshot'; leave out, or take 'multishot'"
            )
        return value

    def trainings(self, epochs: int) -> list[int]:
        """List the epochs of every training of a cell, in order, for a recipe of `epochs`."""
        return [self.pre_epochs, epochs] if self.pre_epochs else [epochs]

    def last_recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe of the last training of a cell."""
        return recipe

    def summary(self, epochs: int) -> str:  # noqa: ARG002  as in the other protocols
        """Describe in a few words when the network is pruned."""
        before = count(self.pre_epochs, "epoch")
        return f"pruned after {before}" if self.pre_epochs else "pruned at initialization"


class Multishot(Value):
    """Iterative protocol: in each of `levels` train, prune and rewind; then train once more.

    Level i of n prunes to density ** (i / n). `rewind` is the state of the kept weights at the start of the
    next training: `init`, their initial values (Frankle & Carbin, The Lottery Ticket Hypothesis, 2019,
    arXiv 1803.03635); a number, their values after so many optimizer steps of the first training, from which
    the next one continues (Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis, 2020,
    arXiv 1912.05671); or `lr`, their present values, so that only the learning-rate schedule starts again
    (Renda et al., Comparing Rewinding and Fine-tuning in Neural Network Pruning, 2020, arXiv 2003.02389).
    `pre_epochs` are the epochs of every training before a pruning; by default the recipe's.
    """

    title: ClassVar[str] = "multishot"
    """The protocol in the title of a setting."""

    name: Literal["multishot"] = "multishot"
    levels: Positive
    rewind: Rewind = "init"
    pre_epochs: Positive | None = None

    @model_validator(mode="before")
    @classmethod
    def _needs_levels(cls, value: Any) -> Any:
        if isinstance(value, dict) and "levels" not in value:
            raise ValueError("protocol 'multishot' needs levels, such as levels = 5")
        return value

    @property
    def label(self) -> str:
        """The protocol as `parse_pruner` reads it after an @."""
        return _label(self)

    @property
    def step(self) -> int | None:
        """The optimizer step that weights are rewound to, or None if they are not rewound."""
        return {"init": 0, "lr": None}[self.rewind] if isinstance(self.rewind, str) else self.rewind

    def trainings(self, epochs: int) -> list[int]:
        """List the epochs of every training of a cell, in order, for a recipe of `epochs`.

        After rewinding to a step, a training starts at that step, so it runs a little less.
        """
        return self.levels * [self.pre_epochs or epochs] + [epochs]

    def last_recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe of the last training of a cell."""
        return recipe

    def summary(self, epochs: int) -> str:
        """Describe in a few words when the network is pruned and rewound, for a recipe of `epochs`."""
        rewinds = {"init": "weights rewound to initialization", "lr": "learning rate rewound"}
        rewound = rewinds.get(str(self.rewind), f"weights rewound to step {self.rewind}")
        levels, each = count(self.levels, "level"), count(self.pre_epochs or epochs, "epoch")
        return f"pruned in {levels} of {each}, {rewound}"


class Finetune(Value):
    """Pruning after training: train the recipe, prune once, train `epochs` more at the rate `lr`.

    The second training, fine-tuning, begins with the trained weights and a fresh optimizer. Its learning rate
    is constant: `lr`, by default that of the recipe's last epoch (Han et al., Learning both Weights and
    Connections for Efficient Neural Networks, 2015, arXiv 1506.02626; Liu et al., Rethinking the Value of
    Network Pruning, 2019, arXiv 1810.05270). A cosine schedule ends at zero, so that it needs `lr`.
    """

    title: ClassVar[str] = "finetune"
    """The protocol in the title of a setting."""
    levels: ClassVar[int] = 1
    """The number of prunings of trained weights."""
    step: ClassVar[int | None] = None
    """The optimizer step that weights are rewound to: none."""

    name: Literal["finetune"] = "finetune"
    epochs: Positive
    lr: Annotated[float, Field(gt=0, strict=True), NUMBER] | None = None

    @model_validator(mode="before")
    @classmethod
    def _needs_epochs(cls, value: Any) -> Any:
        if isinstance(value, dict) and "epochs" not in value:
            raise ValueError("protocol 'finetune' needs epochs, such as epochs = 5")
        return value

    @property
    def label(self) -> str:
        """The protocol as `parse_pruner` reads it after an @."""
        return _label(self)

    def trainings(self, epochs: int) -> list[int]:
        """List the epochs of every training of a cell, in order, for a recipe of `epochs`."""
        return [epochs, self.epochs]

    def last_recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe of the last training of a cell: `epochs` at a constant learning rate."""
        lr = self.lr
        if lr is None:
            drops = bisect_right(recipe.milestones, recipe.epochs - 1) if recipe.schedule == "step" else 0
            lr = recipe.lr * recipe.gamma**drops
        fields = Recipe.model_fields
        plain = {name: fields[name].default for name in ("schedule", "milestones", "gamma", "warmup_epochs")}
        return recipe.model_copy(update={**plain, "epochs": self.epochs, "lr": lr})

    def summary(self, epochs: int) -> str:
        """Describe in a few words when the network is pruned, for a recipe of `epochs`."""
        rate = "the last learning rate" if self.lr is None else f"lr {self.lr:g}"
        before, after = count(epochs, "epoch"), count(self.epochs, "epoch")
        return f"pruned after {before}, fine-tuned for {after} at {rate}"


def _label(protocol: Value) -> str:
    fields = protocol.model_dump(exclude_defaults=True, exclude={"name"})
    return label_of(protocol.model_dump()["name"], fields)


PROTOCOL_NAMES = ("singleshot", "multishot", "finetune")
"""The names of the protocols."""


def _protocol_name(value: Any) -> Any:
    return value.get("name", "singleshot") if isinstance(value, dict) else getattr(value, "name", value)


Protocol = Annotated[
    Annotated[Singleshot, Tag("singleshot")]
    | Annotated[Multishot, Tag("multishot")]
    | Annotated[Finetune, Tag("finetune")],
    Discriminator(
        _protocol_name,
        custom_error_type="protocol",
        custom_error_message="a protocol is a table whose name is 'singleshot', 'multishot' or 'finetune'",
    ),
]
"""The protocol of a setting: one-shot, iterative, or after training, distinguished by `name`."""
