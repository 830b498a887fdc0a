"""A named list of settings, compressions and seeds."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from synflow_bench.suites._cell import Ablation
from synflow_bench.suites._model import Count, Name, Value
from synflow_bench.suites._protocol import Multishot
from synflow_bench.suites._setting import Setting
from synflow_bench.suites._spec import PrunerSpec
from synflow_bench.suites._sweep import expand_pruners

Compression = Annotated[float, Field(ge=1)]


class Suite(Value):
    """What to run: every setting at every compression and seed.

    `seeds` is a list of repetitions, or their number. `pruners` is empty where the suite leaves the choice
    to the run: then every installed one takes part; a parameter with several values is a pruner for each.
    """

    name: Name
    description: str = ""
    compressions: Annotated[tuple[Compression, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Count, ...], Field(min_length=1)]
    pruners: tuple[PrunerSpec, ...] = ()
    ablations: Annotated[tuple[Ablation, ...], Field(min_length=1)] = ("none",)
    settings: Annotated[tuple[Setting, ...], Field(min_length=1)]

    @field_validator("seeds", mode="before")
    @classmethod
    def _count_or_list(cls, value: Any) -> Any:
        if isinstance(value, int) and not isinstance(value, bool):
            return range(value)
        return value

    @field_validator("pruners", mode="before")
    @classmethod
    def _sweeps(cls, value: Any) -> Any:
        return expand_pruners(value)

    @field_validator("compressions", "seeds", "ablations")
    @classmethod
    def _once_each(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(dict.fromkeys(values))

    @model_validator(mode="after")
    def _shuffles_what_has_weights(self) -> Self:
        given = [setting.protocol for setting in self.settings if isinstance(setting.protocol, Multishot)]
        if "shuffle" in self.ablations and any(p.rewind == "lr" and p.levels > 1 for p in given):
            raise ValueError(
                "ablation 'shuffle' needs weights everywhere, and with rewind 'lr' none are left where "
                "earlier levels pruned; leave it out, or rewind to 'init' or to a step"
            )
        return self
