"""The base of all values in a suite: frozen, strict about field names, and with one spelling as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from synflow_bench.errors import NAME_RULE, is_plain_name

_LARGEST = 2**63 - 1


def _python_number(value: Any) -> Any:
    """Return numbers of other libraries, such as NumPy's, as Python's; a bool is no number."""
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


NUMBER = BeforeValidator(_python_number)
"""Marks a strict number, last in its annotation: Python's own, or one of another library."""

Integer = Annotated[int, Field(ge=-_LARGEST - 1, le=_LARGEST, strict=True), NUMBER]
"""An integer of 64 bits, so that a column of a table can hold it."""
Count = Annotated[int, Field(ge=0, le=_LARGEST, strict=True), NUMBER]
"""An integer of 64 bits that is not negative."""
Positive = Annotated[int, Field(ge=1, le=_LARGEST, strict=True), NUMBER]
"""A positive integer of 64 bits."""
Flag = Annotated[bool, Strict()]
"""True or false; neither a number nor a text stands for it."""


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError(f"{name!r} is not a name: {NAME_RULE}")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
"""A name that can be registered; see `synflow_bench.errors.NAME_RULE`."""


class Value(BaseModel):
    """A frozen value; an unknown field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy without the cached properties of this value."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


# One encoder for all: `json.dumps` would build one per call, and thousands of cells have a key.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def canonical(value: Any) -> str:
    """Write a value as JSON with sorted keys and no spaces, so that equal values have equal texts.

    Raises:
        ValueError: The value contains NaN or an infinity.

    Example:
        >>> canonical({"b": 1, "a": [True, None]})
        '{"a":[true,null],"b":1}'
    """
    return _ENCODER.encode(value)


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON, in hex."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
