"""Rows: pruners with the protocols that they serve, as a suite or a run lists them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from synflow_bench.errors import SuiteError
from synflow_bench.suites.protocol import Protocol
from synflow_bench.suites.spec import PrunerSpec, parse_pruner, split_protocol


def _protocol(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        table = parse_pruner(value)
    except SuiteError as error:
        raise ValueError(f"protocol {value!r}: write it as name or name[key=value,key=value]") from error
    return {"name": table["name"], **table["parameters"]}


class PrunerRow(PrunerSpec):
    """A pruner, and its protocol if that is not the setting's.

    As text it is `magnitude@multishot[levels=3,rewind=lr]`, in TOML also a table with a field `protocol`. Its
    cells are those of the setting with this protocol: at equal seeds they have the initial weights and the
    order of data of all other rows.

    Example:
        >>> row = PrunerRow.model_validate("magnitude@finetune[epochs=5]")
        >>> row.pruner.name, row.protocol.label
        ('magnitude', 'finetune[epochs=5]')
    """

    protocol: Annotated[Protocol | None, BeforeValidator(_protocol)] = None

    @property
    def pruner(self) -> PrunerSpec:
        """The pruner alone, as cells and records have it."""
        return PrunerSpec(name=self.name, parameters=self.parameters, label=self.label)

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, PrunerSpec) and not isinstance(value, cls):
            return value.model_dump()
        if not isinstance(value, str):
            return value
        pruner, protocol = split_protocol(value)
        try:
            return {**parse_pruner(pruner), "protocol": protocol}
        except SuiteError as error:
            raise ValueError(str(error)) from error
