"""Settings: the dataset, model, training recipe, protocol and pruning options that one board shares."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from synflow_bench.suites.spec import DatasetText, ModelSpec, dataset_label, parse_dataset
from synflow_bench.suites.values import NUMBER, Count, Flag, Integer, Positive, Value, digest

Optimizer = Literal["sgd", "momentum", "adam", "rmsprop"]
Schedule = Literal["constant", "step", "cosine"]
Precision = Literal["fp32", "bf16"]
Compile = Literal["no", "yes", "cuda-graphs"]
Scope = Literal["global", "local"]
Biases = Literal["keep", "zero"]
ExampleDraw = Literal["balanced", "random"]


class Recipe(Value):
    """Epochs, optimizer, learning-rate schedule, batches and precision of one training.

    The optimizer `momentum` is SGD with Nesterov momentum; `sgd` has no momentum. The schedule `step`
    multiplies the learning rate by `gamma` at the start of each epoch in `milestones` (counted from zero);
    `cosine` decays it to zero over the training, step by step; during `warmup_epochs` it first rises linearly
    from zero. `compile` lets torch compile the network for the training steps, which takes seconds to minutes
    at the start of each training; `cuda-graphs` also launches all its kernels as one, on CUDA devices only.
    """

    epochs: Count
    optimizer: Optimizer = "momentum"
    lr: Annotated[float, Field(gt=0, strict=True), NUMBER] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, strict=True), NUMBER] = 0.9
    weight_decay: Annotated[float, Field(ge=0, strict=True), NUMBER] = 0.0
    schedule: Schedule = "constant"
    milestones: tuple[Positive, ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1, strict=True), NUMBER] = 0.1
    warmup_epochs: Count = 0
    batch_size: Positive = 128
    label_smoothing: Annotated[float, Field(ge=0, lt=1, strict=True), NUMBER] = 0.0
    gradient_clip: Annotated[float, Field(gt=0, strict=True), NUMBER] | None = None
    augment: Flag = True
    validation_fraction: Annotated[float, Field(ge=0, lt=1, strict=True), NUMBER] = 0.1
    precision: Precision = "fp32"
    channels_last: Flag = False
    compile: Compile = "no"

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if problems := [*self._without_effect(), *self._contradictions()]:
            raise ValueError("; ".join(problems))
        return self

    @property
    def omitted(self) -> set[str]:
        """Fields newer than the first records and without effect here: neither hashed nor written."""
        return {"compile"} if self.compile == "no" else set()

    def _without_effect(self) -> Iterator[str]:
        # A default that is written out is allowed: records write out all of them.
        fields = type(self).model_fields
        given = {name for name in self.model_fields_set if getattr(self, name) != fields[name].default}
        if "momentum" in given and self.optimizer != "momentum":
            yield f"momentum has no effect with optimizer {self.optimizer!r}; leave it out"
        for field in ("milestones", "gamma"):
            if field in given and self.schedule != "step":
                yield f"{field} has no effect with schedule {self.schedule!r}; leave it out"

    def _contradictions(self) -> Iterator[str]:
        if self.schedule == "step" and not self.milestones:
            yield "schedule 'step' needs milestones, such as milestones = [60, 120]"
        if list(self.milestones) != sorted(set(self.milestones)):
            yield f"milestones must increase: {list(self.milestones)}"
        if self.warmup_epochs > self.epochs:
            yield f"warmup_epochs {self.warmup_epochs} exceeds epochs {self.epochs}"


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

    def summary(self, epochs: int) -> str:  # noqa: ARG002  as in the other protocol
        """Describe in a few words when the network is pruned."""
        return f"pruned after {_epochs(self.pre_epochs)}" if self.pre_epochs else "pruned at initialization"


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
    def step(self) -> int | None:
        """The optimizer step that weights are rewound to, or None if they are not rewound."""
        return {"init": 0, "lr": None}[self.rewind] if isinstance(self.rewind, str) else self.rewind

    def trainings(self, epochs: int) -> list[int]:
        """List the epochs of every training of a cell, in order, for a recipe of `epochs`.

        After rewinding to a step, a training starts at that step, so it runs a little less.
        """
        return self.levels * [self.pre_epochs or epochs] + [epochs]

    def summary(self, epochs: int) -> str:
        """Describe in a few words when the network is pruned and rewound, for a recipe of `epochs`."""
        rewinds = {"init": "weights rewound to initialization", "lr": "learning rate rewound"}
        rewound = rewinds.get(str(self.rewind), f"weights rewound to step {self.rewind}")
        levels = f"{self.levels} level{'s' * (self.levels != 1)}"
        return f"pruned in {levels} of {_epochs(self.pre_epochs or epochs)}, {rewound}"


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _protocol_name(value: Any) -> Any:
    return value.get("name", "singleshot") if isinstance(value, dict) else getattr(value, "name", value)


Protocol = Annotated[
    Annotated[Singleshot, Tag("singleshot")] | Annotated[Multishot, Tag("multishot")],
    Discriminator(
        _protocol_name,
        custom_error_type="protocol",
        custom_error_message="a protocol is a table whose name is 'singleshot' or 'multishot'",
    ),
]
"""The protocol of a setting: one-shot or iterative, distinguished by `name`."""


def _patterns(value: Any) -> Any:
    given = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    names: set[str] = set()
    for each in given:
        if type(each) not in (str, int):  # a part of a path such as 0 is a TOML integer
            raise ValueError(f"{each!r} is no name of a parameter; write it as text in quotes")
        names |= {part.strip() for part in str(each).split(",")}
    if "" in names:
        raise ValueError(f"{value!r} has an empty name; write names of parameters, or leave it out")
    return tuple(sorted(names))


Patterns = Annotated[tuple[str, ...], BeforeValidator(_patterns)]
"""Names of parameters or modules, or globs such as `*.in_proj_weight`: a list, or text with commas."""


class PruningOptions(Value):
    """The prunable parameters, the ranking of scores, and the number of examples for scores.

    Weight matrices of linear, convolutional, attention and recurrent layers are prunable; `prune_embedding`
    adds those of embeddings, `prune_bias` the biases of layers, `prune_batchnorm` the scales and shifts of
    batch norm, `prune_residual` the scales of identity shortcuts; `dense_classifier` excludes the last linear
    layer. `only` limits pruning to the parameters that it names, and `skip` excludes those that it names: by
    full name, by module or by glob. A full name in `only` makes any parameter prunable. `scope` ranks scores
    over the whole network (`global`) or within each layer (`local`).

    The number of scoring examples is `examples_per_class` times the number of classes: so many of every class
    (`examples = "balanced"`), or drawn without regard to classes (`"random"`). `biases` holds for all pruners
    alike: they score the network with its own biases and shifts (`keep`), or with zeros in place of those
    that are not prunable (`zero`). Training begins with the network's own in either case.
    """

    scope: Scope = "global"
    prune_bias: Flag = False
    prune_batchnorm: Flag = False
    prune_residual: Flag = False
    prune_embedding: Flag = False
    dense_classifier: Flag = False
    only: Patterns = ()
    skip: Patterns = ()
    examples_per_class: Positive = 10
    examples: ExampleDraw = "balanced"
    biases: Biases = "keep"

    @property
    def omitted(self) -> set[str]:
        """Fields newer than the first records and without effect here: neither hashed nor written."""
        newer = ("prune_embedding", "only", "skip", "examples", "biases")
        return {name for name in newer if getattr(self, name) == type(self).model_fields[name].default}


class Setting(Value):
    """Everything that the rows of one board share.

    `dataset` is a name, or `name[key=value,...]`. A run replaces the path in its options by a fingerprint of
    the files, which is then part of every key.
    """

    dataset: DatasetText
    model: ModelSpec
    recipe: Recipe
    protocol: Protocol = Singleshot()
    pruning: PruningOptions = PruningOptions()
    root_seed: Integer = 0

    @model_validator(mode="after")
    def _trains_in_levels(self) -> Self:
        if self.protocol.levels and not all(self.protocol.trainings(self.recipe.epochs)[:-1]):
            raise ValueError(
                f"protocol {self.protocol.name!r} trains in every level; give the recipe an epoch or more"
            )
        return self

    @property
    def title(self) -> str:
        """The dataset and the model, and the protocol if it is not the default one."""
        return " / ".join(filter(None, [self.dataset_label, self.model.name, self.protocol.title]))

    @cached_property
    def dataset_name(self) -> str:
        """The registered name of the dataset, without its options."""
        return parse_dataset(self.dataset)[0]

    @cached_property
    def dataset_label(self) -> str:
        """A plain name for the dataset and its options, for titles, tables and folders."""
        return dataset_label(self.dataset)

    @property
    def total_epochs(self) -> int:
        """The epochs of all trainings of a cell."""
        return sum(self.protocol.trainings(self.recipe.epochs))

    @property
    def id(self) -> str:
        """Eight hex digits that differ between settings, whatever the order of their fields."""
        return self.digest[:8]

    @cached_property
    def digest(self) -> str:
        """The sha256 of all fields, in hex; cached, because the keys of thousands of cells contain it."""
        unused = set() if self.pruning.prune_residual else {"prune_residual"}  # written, but never hashed
        omitted = {"recipe": self.recipe.omitted, "pruning": self.pruning.omitted | unused}
        return digest(self.model_dump(mode="json", exclude=omitted))
