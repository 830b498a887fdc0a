"""Tuning: values of one field of the recipe, of which each pruner gets its best by validation accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError

from synflow_bench.errors import SuiteError
from synflow_bench.suites.recipe import Recipe
from synflow_bench.suites.setting import Setting
from synflow_bench.suites.spec import read_toml_value
from synflow_bench.suites.values import NUMBER, Value

Tunable = Literal["lr", "weight_decay", "momentum", "label_smoothing", "gradient_clip"]
"""The fields of a recipe that may be tuned: none changes how long a network trains, or on what."""

_EXAMPLE = "lr=0.001|0.003|0.01"


class Tuning(Value):
    """A field of the recipe, and the values among which every pruner has its own.

    Every value makes a setting, with cells and keys of its own; `synflow_bench.leaderboard.tuning` chooses
    among their results.

    Example:
        >>> from synflow_bench.suites import read_tuning
        >>> read_tuning({"lr": [0.001, 0.01]}).text
        'lr=0.001|0.01'
    """

    field: Tunable
    values: tuple[Annotated[float, Field(strict=True), NUMBER], ...]

    @property
    def text(self) -> str:
        """The tuning as the command line takes it."""
        return f"{self.field}={'|'.join(f'{value:g}' for value in self.values)}"

    def candidates(self, setting: Setting) -> tuple[Setting, ...]:
        """Return the setting with each of the values.

        Raises:
            ValueError: The setting cannot have a value, or has no validation accuracy to choose by.
        """
        if not setting.recipe.validation_fraction:
            raise ValueError(
                f"tuning chooses by validation accuracy, and {setting.title} holds no examples out; "
                "set recipe.validation_fraction=0.1"
            )
        given = setting.recipe.model_dump(exclude_unset=True)
        try:
            recipes = [Recipe.model_validate({**given, self.field: value}) for value in self.values]
        except ValidationError as error:
            problem = error.errors()[0]
            reason = problem["msg"].removeprefix("Value error, ")
            raise ValueError(
                f"cannot tune {self.text} in {setting.title}: {reason[:1].lower()}{reason[1:]}"
            ) from error
        return tuple(setting.model_copy(update={"recipe": recipe}) for recipe in recipes)

    def value_of(self, setting: Setting) -> float | None:
        """Return the value that `setting` has, None if it is not one of these."""
        value = getattr(setting.recipe, self.field)
        return value if value in self.values else None


def _read(value: Any) -> Any:
    if isinstance(value, str):
        field, equals, text = value.partition("=")
        if not equals:
            raise ValueError(f"cannot read {value!r}; write it as {_EXAMPLE}")
        value = {field.strip(): [read_toml_value(part.strip()) for part in text.split("|")]}
    if not isinstance(value, Mapping) or value.keys() == {"field", "values"}:
        return value
    if len(value) != 1:
        raise ValueError(f"one field is tuned at a time, not {len(value)}; write {_EXAMPLE}")
    ((path, values),) = value.items()
    field = str(path).removeprefix("recipe.")
    if field not in get_args(Tunable):
        raise ValueError(f"{path!r} cannot be tuned; choose one of {', '.join(get_args(Tunable))}")
    if not isinstance(values, list | tuple) or len(set(map(str, values))) < 2:
        raise ValueError(f"{path} has less than two values to choose from; write {_EXAMPLE}")
    return {"field": field, "values": tuple(dict.fromkeys(values))}


def read_tuning(value: Any) -> Tuning:
    """Read a tuning from text such as `lr=0.001|0.01`, or from a mapping.

    Raises:
        SuiteError: It cannot be read.
    """
    try:
        return Tuning.model_validate(_read(value))
    except ValidationError as error:
        raise SuiteError(f"cannot tune {value!r}: {error.errors()[0]['msg'].lower()}") from error
    except ValueError as error:
        raise SuiteError(str(error)) from error


TuningText = Annotated[Tuning, BeforeValidator(_read)]
"""A tuning as text (`lr=0.001|0.01`) or as a table (`{ lr = [0.001, 0.01] }`)."""
