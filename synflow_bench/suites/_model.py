"""What every value of a suite is: frozen, with no unknown fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from synflow_bench.names import NAME_RULE, is_plain_name

_LARGEST = 2**63 - 1

Integer = Annotated[int, Field(ge=-_LARGEST - 1, le=_LARGEST)]
"""A whole number of 64 bits: a column of a table can hold it."""
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
"""None or some of something."""
Positive = Annotated[int, Field(ge=1, le=_LARGEST)]
"""One or more of something."""


class Value(BaseModel):
    """A frozen value; a field that it does not have is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy that works out anew what this one has kept of its fields."""
        copy = super().model_copy(update=update, deep=deep)
        for name in copy.__dict__.keys() - type(self).model_fields.keys():
            del copy.__dict__[name]
        return copy


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError(f"{name!r} is not a name: {NAME_RULE}")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
