"""One board of the leaderboard: data set, model, recipe, protocol and pruning options."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from synflow_bench.suites._canonical import digest
from synflow_bench.suites._model import Name, Value
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
    examples_per_class: Annotated[int, Field(ge=1)] = 10


class Singleshot(Value):
    """Train `pre_epochs`, prune once, train the recipe's epochs; zero is pruning at initialization."""

    name: Literal["singleshot"] = "singleshot"
    pre_epochs: Annotated[int, Field(ge=0)] = 0


class Setting(Value):
    """Everything that rows of one board share."""

    dataset: Name
    model: ModelSpec
    recipe: Recipe
    protocol: Singleshot = Singleshot()
    pruning: PruningOptions = PruningOptions()
    root_seed: int = 0

    @property
    def title(self) -> str:
        """`dataset x model` as a reader would say it."""
        return f"{self.dataset} / {self.model.name}"

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
        return {} if self.pruning.prune_residual else {"pruning": {"prune_residual"}}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with its own digest."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("digest", None)
        return copy
