"""Pruners, models and datasets as a suite names them: a name with parameters, as text or as a table.

A pruner as text is `synflow`, `synflow[rounds=10]` or a sweep, `synflow[rounds=1|10|100]`, which stands for
one pruner per value. A row of a run may add a protocol, `synflow@finetune[epochs=5]`. A dataset with options
is written in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from hashlib import sha256
from itertools import product
from math import isfinite, prod
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from synflow_bench.errors import NAME_RULE, SuiteError, capped, is_plain_name
from synflow_bench.suites.values import Name, Value
from synflow_bench.toml import parse_toml

Scalar = bool | int | float | str
"""The value of a parameter."""

MOST_COMBINATIONS = 10_000
"""A sweep that stands for more pruners is a mistake, and would fill the memory."""

_SPEC = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<parameters>[^\[\]]*)\])?")
_NEEDS_ESCAPE = re.compile(r'[,|\[\]"\\\x00-\x1f\x7f]')
"""The separators of parameters and values, and the letters that a TOML string cannot contain."""


def _scalar(value: Any) -> Any:
    # Not pydantic's own check of a union, which reports one error per type.
    if not isinstance(value, Scalar):
        raise ValueError(  # noqa: TRY004  pydantic collects only this one
            f"{value!r} is no value of a parameter; give a bool, int, float or str"
        )
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value!r} is no value of a parameter; give a finite number")
    if isinstance(value, str) and capped(value) != value:  # it could not be recorded
        raise ValueError(f"{value[:100]!r} is no value of a parameter; give shorter text in UTF-8")
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

    @cached_property
    def title(self) -> str:
        """The label; the name with all parameters if the label says another pruner or other parameters.

        A record from elsewhere may give its pruner any label, such as that of the dense network.
        """
        if not self.label:
            return self.name
        try:
            said = parse_pruner(self.label)
        except SuiteError:
            said = {}
        says_it = said.get("name") == self.name and said["parameters"].items() <= self.parameters.items()
        return self.label if says_it else label_of(self.name, self.parameters)

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


_OPTION = re.compile(r"""\s*([^\W\d]\w*)\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*'|[^,]*?)\s*(?:,|$)""")
"""An option of a dataset and its value; only a quoted value may contain a comma."""


def parse_dataset(text: str) -> tuple[str, dict[str, str]]:
    """Parse `name[key=value,...]` into the name of a dataset and its options, each as it was written.

    Raises:
        SuiteError: The text has another form.

    Example:
        >>> parse_dataset("image-folder[path=my photos/2024,size=32]")
        ('image-folder', {'path': 'my photos/2024', 'size': '32'})
    """
    name, bracket, rest = text.strip().partition("[")
    if bracket and not rest.endswith("]"):
        raise SuiteError(f"cannot read dataset {text!r}; write it as name or name[key=value,key=value]")
    rest, place = rest.removesuffix("]"), 0
    options: dict[str, str] = {}
    while place < len(rest):
        found = _OPTION.match(rest, place)
        if found is None or not found[2]:
            raise SuiteError(
                f"cannot read {rest[place:]!r} in dataset {text!r}; write key=value,key=value, "
                "and quote a value with a comma"
            )
        if found[1] in options:
            raise SuiteError(f"dataset {text!r} gives {found[1]!r} twice")
        options[found[1]], place = found[2], found.end()
    return name.strip(), options


def dataset_label(text: str) -> str:
    """Return a plain name for a dataset with options: its own option `name`, else one with a short hash.

    Example:
        >>> dataset_label("digits"), dataset_label("image-folder[fingerprint=0f,name=flowers]")
        ('digits', 'flowers')
    """
    if "[" not in text:
        return text
    base, options = parse_dataset(text)
    name = read_text(options.get("name", ""))
    return name if is_plain_name(name) else f"{base[:50]}-{sha256(text.encode()).hexdigest()[:8]}"


def _dataset_text(value: Any) -> Any:
    if isinstance(value, Mapping) and value.keys() <= {"name", "options"}:
        value = label_of(value.get("name", ""), value.get("options", {}))
    if not isinstance(value, str) or "[" not in value:
        return value
    try:
        base, options = parse_dataset(value)
    except SuiteError as error:
        raise ValueError(str(error)) from error
    if not is_plain_name(base):
        raise ValueError(f"{base!r} is not a name: {NAME_RULE}")
    return (
        f"{base}[{','.join(f'{key}={text}' for key, text in sorted(options.items()))}]" if options else base
    )


def _is_name_or_options(text: str) -> str:
    if "[" not in text and not is_plain_name(text):
        raise ValueError(f"{text!r} is not a name: {NAME_RULE}")
    return text


DatasetText = Annotated[str, BeforeValidator(_dataset_text), AfterValidator(_is_name_or_options)]
"""The name of a dataset, or `name[key=value,...]` with the keys in order; in TOML a table may give it."""


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
    if split_protocol(text)[1] is not None:
        raise SuiteError(
            f"{text!r} has a protocol, which only a row of a run has; leave out what follows the @"
        )
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


def split_protocol(text: str) -> tuple[str, str | None]:
    """Split `pruner@protocol` into its two parts; the second is None without one.

    Example:
        >>> split_protocol("synflow[rounds=10]@finetune[epochs=5]"), split_protocol("synflow")
        (('synflow[rounds=10]', 'finetune[epochs=5]'), ('synflow', None))
    """
    start = text.find("@")
    if "[" in text[:start]:  # in a value, unless it follows the parameters
        start = text.find("]@") + 1 or -1
    return (text, None) if start < 0 else (text[:start], text[start + 1 :])


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
    text, protocol = split_protocol(pruner) if isinstance(pruner, str) else (pruner, None)
    if protocol is None:
        return _sweep(text)
    return [_with_protocol(each, of) for each in _sweep(text) for of in _sweep(protocol)]


def _sweep(pruner: Any) -> list[Any]:
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
    if (count := prod(map(len, choices))) > MOST_COMBINATIONS:
        name = table.get("name")
        raise SuiteError(f"a sweep of {name!r} stands for {count} pruners, the most are {MOST_COMBINATIONS}")
    picks = product(*choices)
    return [{**table, "parameters": dict(zip(parameters, pick, strict=True))} for pick in picks]


def _with_protocol(pruner: Any, protocol: Any) -> Any:
    """Join the combinations of a pruner and a protocol; what cannot be read is left as text."""
    if isinstance(pruner, str):
        return pruner
    if isinstance(protocol, str):
        return {**pruner, "protocol": protocol}
    return {**pruner, "protocol": {"name": protocol["name"], **protocol["parameters"]}}


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


def read_text(text: str) -> str:
    """Read a text that may be quoted as in TOML; unquoted, it stands for itself."""
    value = read_toml_value(text) if text[:1] in ("'", '"') else text
    return value if isinstance(value, str) else text


def read_toml_value(text: str) -> Any:
    """Read a TOML value; other text is itself, so that words need no quotes."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text
