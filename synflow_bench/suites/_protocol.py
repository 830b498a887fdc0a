"""When a network is pruned and how it is trained around that."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Tag, model_validator

from synflow_bench.suites._model import Count, Positive, Value


def _rewind(value: Any) -> Any:
    step = int(value) if isinstance(value, str) and value.isdecimal() else value
    if step in ("init", "lr") or (isinstance(step, int) and not isinstance(step, bool) and step >= 0):
        return step or "init"
    raise ValueError(f"rewind is 'init', 'lr' or an optimizer step such as 500, not {value!r}")


Rewind = Annotated[Literal["init", "lr"] | Positive, BeforeValidator(_rewind)]
"""Where weights go back to after a pruning: initialization, an optimizer step or, with `lr`, nowhere."""


class Singleshot(Value):
    """Train `pre_epochs`, prune once, train the recipe's epochs; zero is pruning at initialization."""

    name: Literal["singleshot"] = "singleshot"
    pre_epochs: Count = 0

    @model_validator(mode="before")
    @classmethod
    def _has_no_levels(cls, value: Any) -> Any:
        if foreign := [name for name in ("levels", "rewind") if isinstance(value, dict) and name in value]:
            raise ValueError(
                f"{', '.join(foreign)}: no effect with protocol 'singleshot'; leave out, or take 'multishot'"
            )
        return value


class Multishot(Value):
    """In each of `levels`: train, prune, rewind; then train once more.

    Level i of n prunes to density ** (i / n). `rewind` is where the kept weights go back to before the next
    training: `init`, their initial values (Frankle & Carbin, The Lottery Ticket Hypothesis, 2019,
    arXiv 1803.03635); a number, their values after so many optimizer steps of the first training, which the
    next one continues from there (Frankle et al., Linear Mode Connectivity and the Lottery Ticket Hypothesis,
    2020, arXiv 1912.05671); or `lr`: they stay, and only the learning-rate schedule begins again (Renda et
    al., Comparing Rewinding and Fine-tuning in Neural Network Pruning, 2020, arXiv 2003.02389).
    `pre_epochs` are those of every training before a pruning; by default the recipe's.
    """

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
        """The optimizer step that weights are rewound to; None where they stay."""
        return {"init": 0, "lr": None}[self.rewind] if isinstance(self.rewind, str) else self.rewind


def _name(value: Any) -> Any:
    return value.get("name", "singleshot") if isinstance(value, dict) else getattr(value, "name", value)


Protocol = Annotated[
    Annotated[Singleshot, Tag("singleshot")] | Annotated[Multishot, Tag("multishot")],
    Discriminator(
        _name,
        custom_error_type="protocol",
        custom_error_message="a protocol is a table whose name is 'singleshot' or 'multishot'",
    ),
]
