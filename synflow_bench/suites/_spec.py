"""A pruner and its parameters, as text: `synflow`, `synflow[rounds=10]`, `synflow[rounds=1|10|100]`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from synflow_bench.errors import SuiteError
from synflow_bench.suites._model import Name, Value

Scalar = bool | int | float | str
_SPEC = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<parameters>[^\[\]]*)\])?")
_NEEDS_ESCAPE = re.compile(r'[,|\[\]"\\\x00-\x1f\x7f]')
"""What separates parameters and values, and what a TOML string may not hold."""


def _one_scalar(value: Any) -> Any:
    if not isinstance(value, Scalar):
        raise ValueError(  # noqa: TRY004  pydantic makes a fault of this one alone
            f"{value!r} is no value of a parameter; give a bool, int, float or str"
        )
    return value


Parameter = Annotated[Scalar, BeforeValidator(_one_scalar)]
"""A scalar; anything else is one fault, not one for each type that it might have been."""


class PrunerSpec(Value):
    """A pruner's name with parameters; in TOML a string such as `"synflow[rounds=10]"` or a table.

    Before resolution `parameters` are those that were given; after it, all of them.
    `label` names the row on a board: the name with what differs from the defaults.
    """

    name: Name
    parameters: dict[str, Parameter] = Field(default={})
    label: str = ""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All but the label, as plain JSON values; kept, because thousands of cells have one pruner."""
        return self.model_dump(mode="json", exclude={"label"})

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return parse_pruner(value)
        except SuiteError as error:
            raise ValueError(str(error)) from error


class ModelSpec(Value):
    """A model's name with the options of its factory; in TOML a string or a table."""

    name: Name
    options: dict[str, Parameter] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def parse_pruner(text: str) -> dict[str, Any]:
    """Read `name[key=value,...]` into the fields of a `PrunerSpec`.

    Raises `SuiteError` for other text, and for a sweep, which is several pruners.
    """
    table = read_pruner(text)
    for key, value in table["parameters"].items():
        if isinstance(value, list):
            raise SuiteError(f"pruner {text!r} is several, one for each {key}; name one of them")
    return table


def read_pruner(text: str) -> dict[str, Any]:
    """As `parse_pruner`, but a value may be several with `|` between, which are read as a list."""
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise SuiteError(f"cannot read pruner {text!r}; write it as name or name[key=value,key=value]")
    return {"name": match["name"].strip(), "parameters": _parameters(text, match["parameters"] or "")}


def label_of(name: str, parameters: Mapping[str, Scalar]) -> str:
    """Write a pruner as `parse_pruner` reads it, parameters in alphabetical order."""
    if not parameters:
        return name
    return f"{name}[{','.join(f'{key}={_write(value)}' for key, value in sorted(parameters.items()))}]"


def _parameters(text: str, inside: str) -> dict[str, Scalar | list[Scalar]]:
    parameters: dict[str, Scalar | list[Scalar]] = {}
    for item in filter(None, (part.strip() for part in inside.split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        values = [part.strip() for part in value.split("|")]
        if not equals or not key.isidentifier() or not all(values):
            raise SuiteError(
                f"cannot read {item!r} in pruner {text!r}; write it as key=value, or key=value|value"
            )
        if key in parameters:
            raise SuiteError(f"pruner {text!r} gives {key!r} twice")
        read = [read_scalar(each) for each in values]
        parameters[key] = read if len(read) > 1 else read[0]
    return parameters


def read_scalar(text: str) -> Scalar:
    """Read a TOML scalar; what is none is text, so that words need no quotes."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def _write(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not _is_word(value):
        escaped = _NEEDS_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
        return f'"{escaped}"'
    return str(value)


def _is_word(text: str) -> bool:
    """Whether `text` is read as itself without quotes."""
    plain = text == text.strip() != "" and not _NEEDS_ESCAPE.search(text)
    return plain and read_scalar(text) == text
