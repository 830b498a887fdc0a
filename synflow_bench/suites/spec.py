"""Pruners and models as a suite names them: a name with parameters, as text or as a table.

A pruner as text is `synflow`, `synflow[rounds=10]` or a sweep, `synflow[rounds=1|10|100]`, which stands for
one pruner per value.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from itertools import product
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from synflow_bench.errors import SuiteError
from synflow_bench.suites.values import Name, Value

Scalar = bool | int | float | str
"""The value of a parameter."""

_SPEC = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<parameters>[^\[\]]*)\])?")
_NEEDS_ESCAPE = re.compile(r'[,|\[\]"\\\x00-\x1f\x7f]')
"""The separators of parameters and values, and the letters that a TOML string cannot contain."""


def _scalar(value: Any) -> Any:
    # Not pydantic's own check of a union, which reports one error per type.
    if not isinstance(value, Scalar):
        raise ValueError(  # noqa: TRY004  pydantic collects only this one
            f"{value!r} is no value of a parameter; give a bool, int, float or str"
        )
    return value


Parameters = dict[str, Annotated[Scalar, BeforeValidator(_scalar)]]


class PrunerSpec(Value):
    """A pruner's name with parameters; in TOML a string such as `"synflow[rounds=10]"` or a table.

    Before resolution `parameters` holds the given ones, after it all of them. `label` names the row on a
    board: the name with the parameters that differ from their defaults.
    """

    name: Name
    parameters: Parameters = Field(default={})
    label: str = ""

    @cached_property
    def identity(self) -> dict[str, Any]:
        """All fields but the label, as plain JSON values; cached, as thousands of cells share a pruner."""
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
    options: Parameters = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


def parse_pruner(text: str) -> dict[str, Any]:
    """Parse `name[key=value,...]` into the fields of a `PrunerSpec`.

    Raises:
        SuiteError: The text has another form, or is a sweep.

    Example:
        >>> parse_pruner("synflow[rounds=10,schedule=linear]")
        {'name': 'synflow', 'parameters': {'rounds': 10, 'schedule': 'linear'}}
    """
    table = _parse(text)
    for key, value in table["parameters"].items():
        if isinstance(value, list):
            raise SuiteError(f"pruner {text!r} is several, one for each {key}; name one of them")
    return table


def _parse(text: str) -> dict[str, Any]:
    """Parse a pruner as `parse_pruner` does; a parameter with several values becomes a list."""
    match = _SPEC.fullmatch(text.strip())
    if match is None:
        raise SuiteError(f"cannot read pruner {text!r}; write it as name or name[key=value,key=value]")
    parameters: dict[str, Scalar | list[Scalar]] = {}
    for item in filter(None, (part.strip() for part in (match["parameters"] or "").split(","))):
        key, equals, value = (part.strip() for part in item.partition("="))
        values = [part.strip() for part in value.split("|")]
        if not equals or not key.isidentifier() or not all(values):
            raise SuiteError(
                f"cannot read {item!r} in pruner {text!r}; write it as key=value, or key=value|value"
            )
        if key in parameters:
            raise SuiteError(f"pruner {text!r} gives {key!r} twice")
        read = [_read_scalar(each) for each in values]
        parameters[key] = read if len(read) > 1 else read[0]
    return {"name": match["name"].strip(), "parameters": parameters}


def expand_pruners(given: Any) -> Any:
    """Replace each sweep in a list of pruners by one table per combination of its values.

    Args:
        given: Pruners as strings, tables or `PrunerSpec`. Anything that cannot be read is returned as it is,
            for validation to report.

    Example:
        >>> expand_pruners(["synflow[rounds=1|10]"])
        [{'name': 'synflow', 'parameters': {'rounds': 1}}, {'name': 'synflow', 'parameters': {'rounds': 10}}]
    """
    if not isinstance(given, list | tuple):
        return given
    return [pruner for each in given for pruner in _combinations(each)]


def _combinations(pruner: Any) -> list[Any]:
    table = pruner
    if isinstance(pruner, str):
        try:
            table = _parse(pruner)
        except SuiteError:
            return [pruner]
    parameters = table.get("parameters") if isinstance(table, Mapping) else None
    if not isinstance(parameters, Mapping):
        return [pruner]
    choices = [value if value and isinstance(value, list) else [value] for value in parameters.values()]
    picks = product(*choices)
    return [{**table, "parameters": dict(zip(parameters, pick, strict=True))} for pick in picks]


def label_of(name: str, parameters: Mapping[str, Scalar]) -> str:
    """Write a pruner as `parse_pruner` reads it, parameters in alphabetical order.

    Example:
        >>> label_of("synflow", {"schedule": "linear", "rounds": 10})
        'synflow[rounds=10,schedule=linear]'
    """
    if not parameters:
        return name
    return f"{name}[{','.join(f'{key}={_write(value)}' for key, value in sorted(parameters.items()))}]"


def _write(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        plain = value == value.strip() != "" and not _NEEDS_ESCAPE.search(value)
        if not plain or _read_scalar(value) != value:
            escaped = _NEEDS_ESCAPE.sub(lambda match: f"\\u{ord(match[0]):04x}", value)
            return f'"{escaped}"'
    return str(value)


def _read_scalar(text: str) -> Scalar:
    value = read_toml_value(text)
    return value if isinstance(value, Scalar) else text


def read_toml_value(text: str) -> Any:
    """Read a TOML value; other text is itself, so that words need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
