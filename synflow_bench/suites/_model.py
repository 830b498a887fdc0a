"""What every value of a suite is: frozen, with no unknown fields."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from synflow_bench.names import NAME_RULE, is_plain_name


class Value(BaseModel):
    """A frozen value; a field that it does not have is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


def _plain_name(name: str) -> str:
    if not is_plain_name(name):
        raise ValueError(f"{name!r} is not a name: {NAME_RULE}")
    return name


Name = Annotated[str, AfterValidator(_plain_name)]
