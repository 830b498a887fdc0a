"""Settings: the dataset, model, training recipe, protocol and pruning options of a cell."""

from __future__ import annotations

import re
from functools import cached_property
from math import isclose
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, model_validator

from synflow_bench.suites.protocol import Finetune, Protocol, Singleshot
from synflow_bench.suites.recipe import Recipe
from synflow_bench.suites.spec import DatasetText, ModelSpec, dataset_label, parse_dataset
from synflow_bench.suites.values import Flag, Integer, Positive, Value, digest

Scope = Literal["global", "local"]
Biases = Literal["keep", "zero"]
ExampleDraw = Literal["balanced", "random"]
GroupScore = Literal["sum", "mean", "l2"]


def _parameter_names(value: Any) -> Any:
    given = list(value) if isinstance(value, list | tuple | set | frozenset) else [value]
    names: set[str] = set()
    for each in given:
        if type(each) not in (str, int):  # a part of a path such as 0 is a TOML integer
            raise ValueError(f"{each!r} is no name of a parameter; write it as text in quotes")
        names |= {part.strip() for part in str(each).split(",")}
    if "" in names:
        raise ValueError(f"{value!r} has an empty name; write names of parameters, or leave it out")
    return tuple(sorted(names))


ParameterNames = Annotated[tuple[str, ...], BeforeValidator(_parameter_names)]
"""Names of parameters or modules, or globs such as `*.in_proj_weight`: a list, or text with commas."""


PATTERN_TOLERANCE = 1e-6
"""The relative error of a compression that granularity `n:m` still takes for m / n: 2.333333 is 7 / 3."""

GRANULARITIES = ("weight", "kernel", "channel", "fan-in")
"""The granularities with a name; the others are `n:m`."""

_PATTERN = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})")


def _granularity(value: Any) -> Any:
    pattern = _PATTERN.fullmatch(value) if isinstance(value, str) else None
    if value in GRANULARITIES or (pattern and int(pattern[1]) < int(pattern[2])):
        return value
    raise ValueError(f"{value!r} is no granularity; known: {', '.join(GRANULARITIES)}, n:m such as 2:4")


Granularity = Annotated[str, BeforeValidator(_granularity)]
"""The weights that pruning keeps or removes together: one of `GRANULARITIES`, or `n:m`."""


class PruningOptions(Value):
    """The prunable parameters, the ranking of scores, and the number of examples for scores.

    Weight matrices of linear, convolutional, attention and recurrent layers are prunable; `prune_embedding`
    adds those of embeddings, `prune_bias` the biases of layers, `prune_batchnorm` the scales and shifts of
    batch norm, `prune_residual` the scales of identity shortcuts; `dense_classifier` excludes the last linear
    layer. `only` limits pruning to the parameters that it names, and `skip` excludes those that it names: by
    full name, by module or by glob. A full name in `only` makes any parameter prunable, and a glob or module
    that names nothing prunable the matrices that it names. `scope` ranks scores over the whole network
    (`global`) or within each layer (`local`).

    The number of scoring examples is `examples_per_class` times the number of classes: so many of every class
    (`examples = "balanced"`), or drawn without regard to classes (`"random"`). `biases` holds for all pruners
    alike: they score the network with its own biases and shifts (`keep`), or with zeros in place of those
    that are not prunable (`zero`). Training begins with the network's own in either case.

    `granularity` says which weights are kept or removed together: single ones (`weight`), the kernels of
    convolutions (`kernel`), or output channels with all weights that read them (`channel`), which residual
    sums tie together. `fan-in` keeps equally many incoming weights of every unit of a layer. `n:m`, such as
    `2:4`, keeps n of every m weights along the inputs, which makes the compression m / n. The score of a
    kernel or a channel is the sum of its weights' scores, or their mean or L2 norm (`group_score`).
    """

    scope: Scope = "global"
    prune_bias: Flag = False
    prune_batchnorm: Flag = False
    prune_residual: Flag = False
    prune_embedding: Flag = False
    dense_classifier: Flag = False
    only: ParameterNames = ()
    skip: ParameterNames = ()
    examples_per_class: Positive = 10
    examples: ExampleDraw = "balanced"
    biases: Biases = "keep"
    granularity: Granularity = "weight"
    group_score: GroupScore = "sum"

    @model_validator(mode="after")
    def _scores_groups(self) -> Self:
        if self.group_score != "sum" and not self.ranks_groups:
            raise ValueError(
                f"group_score has no effect with granularity {self.granularity!r}; leave it out, or take "
                "'kernel' or 'channel'"
            )
        return self

    @property
    def ranks_groups(self) -> bool:
        """True where groups of weights have a score and are kept or removed as a whole."""
        return self.granularity in ("kernel", "channel")

    @property
    def pattern(self) -> tuple[int, int] | None:
        """The numbers n and m of granularity `n:m`."""
        found = _PATTERN.fullmatch(self.granularity)
        return (int(found[1]), int(found[2])) if found else None

    def exact_compression(self, compression: float) -> float:
        """Return the compression ratio that is meant: with granularity `n:m`, which 1.333333 fits, m / n.

        Raises:
            ValueError: It fixes another one; the message is one line.
        """
        if self.pattern is None:
            return compression
        n, m = self.pattern
        if not isclose(compression, m / n, rel_tol=PATTERN_TOLERANCE):
            fixed = f"{m / n:.12g}"
            raise ValueError(
                f"granularity {self.granularity!r} keeps {n} of every {m} weights, which is compression "
                f"{fixed}, not {compression:g}; give compression {fixed} (--compression {fixed})"
            )
        return m / n

    @property
    def omitted(self) -> set[str]:
        """Fields newer than the first records and without effect here: neither hashed nor written."""
        newer = ("prune_embedding", "only", "skip", "examples", "biases", "granularity", "group_score")
        return {name for name in newer if getattr(self, name) == type(self).model_fields[name].default}


class Setting(Value):
    """Everything that cells share beside their pruner, compression and seed.

    The rows of one board share all of it but the protocol. `dataset` is a name, or `name[key=value,...]`. A
    run replaces the path in its options by a fingerprint of the files, which is then part of every key.
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

    @model_validator(mode="after")
    def _can_be_fine_tuned(self) -> Self:
        protocol, cosine = self.protocol, self.recipe.schedule == "cosine"
        if isinstance(protocol, Finetune) and protocol.lr is None and cosine:
            raise ValueError(
                "protocol 'finetune' has no learning rate after a cosine schedule, which ends at zero; give "
                "it lr, such as lr = 0.01"
            )
        return self

    @cached_property
    def board(self) -> str:
        """The sha256 of all fields but the protocol, in hex: settings of one board share it."""
        return self.model_copy(update={"protocol": Singleshot()}).digest

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
