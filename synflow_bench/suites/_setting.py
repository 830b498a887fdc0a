"""One board of the leaderboard: data set, model, recipe, protocol and pruning options."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Literal, Self

from pydantic import model_validator

from synflow_bench.suites._canonical import digest
from synflow_bench.suites._model import Integer, Name, Positive, Value
from synflow_bench.suites._protocol import Multishot, Protocol, Singleshot
from synflow_bench.suites._recipe import Recipe
from synflow_bench.suites._spec import ModelSpec

Scope = Literal["global", "local"]


class PruningOptions(Value):
    """What may be pruned, how scores are ranked, and how much data a score may see.

    Weights of linear and convolutional layers can always be pruned; `prune_bias` adds their biases,
    `prune_batchnorm` the scales and shifts of batch norm, `prune_residual` the scales of identity shortcuts;
    `dense_classifier` leaves the last linear layer whole.
    """

    scope: Scope = "global"
    prune_bias: bool = False
    prune_batchnorm: bool = False
    prune_residual: bool = False
    dense_classifier: bool = False
    examples_per_class: Positive = 10


class Setting(Value):
    """Everything that rows of one board share."""

    dataset: Name
    model: ModelSpec
    recipe: Recipe
    protocol: Protocol = Singleshot()
    pruning: PruningOptions = PruningOptions()
    root_seed: Integer = 0

    @model_validator(mode="after")
    def _trains_in_levels(self) -> Self:
        protocol = self.protocol
        if isinstance(protocol, Multishot) and not (protocol.pre_epochs or self.recipe.epochs):
            raise ValueError(
                f"protocol {protocol.name!r} trains in every level; give the recipe an epoch or more"
            )
        return self

    @property
    def title(self) -> str:
        """`dataset x model` as a reader would say it, and the protocol where it is not the plain one."""
        parts = [self.dataset, self.model.name]
        return " / ".join([*parts, "multishot"] if isinstance(self.protocol, Multishot) else parts)

    @property
    def total_epochs(self) -> int:
        """The epochs of all trainings of a cell; where weights are rewound to a step, a little fewer."""
        epochs, protocol = self.recipe.epochs, self.protocol
        if isinstance(protocol, Singleshot):
            return protocol.pre_epochs + epochs
        return protocol.levels * (protocol.pre_epochs or epochs) + epochs

    @property
    def id(self) -> str:
        """Eight hex digits that differ between settings, whatever the order of their fields."""
        return self.digest[:8]

    @cached_property
    def digest(self) -> str:
        """The sha256 of all fields; kept, because the keys of thousands of cells begin with it."""
        return digest(self.model_dump(mode="json", exclude=self._unsaid()))

    def _unsaid(self) -> dict[str, Any]:
        """Fields that came after the first records and are as they would be without them."""
        pruning = set() if self.pruning.prune_residual else {"prune_residual"}
        return {"recipe": self.recipe.unsaid, "pruning": pruning}
