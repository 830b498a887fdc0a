"""What a cell gave, as one validated value."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from synflow_bench.records._agreement import Weights, disagreement, total
from synflow_bench.suites import Cell, Count, Positive, canonical

SCHEMA: Literal[1] = 1
"""The version of the record's layout; part of every key."""

Status = Literal["ok", "failed", "skipped"]
Engine = Literal["eager", "compiled", "stacked", "shrunk"]


class _Part(BaseModel):
    # Its own validator is built when first used: a record's holds those of its parts already.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not (abs(value) < float("inf")) else value


Loss = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A loss; `None` where the training diverged."""

Share = Annotated[float, Field(ge=0, le=1)]
Times = Annotated[float, Field(ge=1)]
"""How many times smaller, or quicker."""
Seconds = Annotated[float, Field(ge=0)]


class Metrics(_Part):
    """The numbers of a cell. Accuracies and densities are shares in [0, 1].

    `test_top1` is that of the final epoch; `max_test_top1`, the best over epochs, is there only to compare
    with publications that report it. `density` and `compression` count prunable weights, `compression_all`
    every parameter, `effective_compression` kept weights on a path of kept weights from input to output: None
    where none is, or where `not_followed` says why paths are not known. `theoretical_speedup` is dense MACs
    over kept MACs: masks simulate sparsity, nothing runs faster.
    """

    test_top1: Share
    test_top5: Share | None
    test_loss: Loss
    val_top1: Share | None
    max_test_top1: Share
    init_top1: Share
    density: Share
    compression: Times
    compression_all: Times
    effective_compression: Times | None = None
    not_followed: str | None = None
    theoretical_speedup: Times | None
    collapsed_layers: tuple[str, ...] = ()
    diverged: bool = False

    @model_validator(mode="after")
    def _best_is_no_less_than_the_last(self) -> Self:
        if self.max_test_top1 < self.test_top1:
            raise ValueError(f"max_test_top1 {self.max_test_top1} is below test_top1 {self.test_top1}")
        return self


class Layer(_Part):
    """One prunable tensor: `macs` are those of its dense form for one example."""

    name: str
    shape: tuple[Count, ...]
    size: Count
    kept: Count
    effective_kept: Count | None = None
    macs: Count

    @model_validator(mode="after")
    def _keeps_what_there_is(self) -> Self:
        if fault := self.weights.fault:
            raise ValueError(fault)
        return self

    @property
    def weights(self) -> Weights:
        """The numbers of its weights."""
        return Weights(self.size, self.kept, self.effective_kept)


class Epoch(_Part):
    """One point of the training curve, measured after epoch `epoch` (from 1; 0 is before training)."""

    epoch: Count
    lr: Annotated[float, Field(ge=0)]
    train_loss: Loss
    val_top1: Share | None
    test_top1: Share
    test_loss: Loss


class Level(_Part):
    """One training of a multishot protocol, after `level` prunings: level 0 is the dense network.

    `density` is that of the weights trained, the accuracies are those of its last epoch.
    """

    level: Count
    density: Share
    val_top1: Share | None
    test_top1: Share


class Timing(_Part):
    """Wall-clock seconds of the parts of a cell, on the machine that its provenance names."""

    prune_seconds: Seconds
    train_seconds: Seconds
    total_seconds: Seconds


class Provenance(_Part):
    """Where and with what a record was made. Never part of the key.

    `engine` computed the training's steps: `eager`, one network layer by layer; `compiled`, one through
    torch's compiler; `stacked`, several small ones as one; `shrunk`, one that is either of the first two,
    without the units that nothing reads. They differ in how sums are rounded.
    """

    created: str
    synflow_bench: str
    torch: str
    python: str
    platform: str
    device: str
    threads: Positive
    score_dtype: str | None = None
    engine: Engine | None = None
    plugins: dict[str, str] = {}


class Failure(_Part):
    """Why a cell failed or was skipped: one line, and the traceback where it is a fault of the code."""

    kind: str
    message: str
    traceback: str | None = None


class Record(BaseModel):
    """What a cell gave; see `docs/reference/records.md` for the JSON Schema."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    key: str
    status: Status
    cell: Cell
    metrics: Metrics | None = None
    layers: tuple[Layer, ...] = ()
    curve: tuple[Epoch, ...] = ()
    levels: tuple[Level, ...] = ()
    timing: Timing | None = None
    provenance: Provenance
    masks: str | None = None
    error: Failure | None = None

    @model_validator(mode="after")
    def _status_has_its_part(self) -> Self:
        if self.status == "ok" and self.metrics is None:
            raise ValueError("status 'ok' needs metrics")
        if self.status != "ok" and self.error is None:
            raise ValueError(f"status {self.status!r} needs an error")
        if self.status != "ok" and self.metrics is not None:
            raise ValueError(f"status {self.status!r} has no metrics")
        return self

    @model_validator(mode="after")
    def _numbers_agree(self) -> Self:
        weights = total(layer.weights for layer in self.layers)
        if self.metrics and (fault := disagreement(self.cell, self.metrics, weights)):
            raise ValueError(fault)
        return self

    def to_json(self) -> str:
        """Indented JSON that ends in a newline; what a recipe leaves unsaid is left out."""
        unsaid = {"cell": {"setting": {"recipe": self.cell.setting.recipe.unsaid}}}
        return self.model_dump_json(by_alias=True, indent=1, exclude=unsaid) + "\n"

    @property
    def result(self) -> dict[str, Any]:
        """Everything that equal cells must give equally: all but timing and provenance."""
        return self.model_dump(mode="json", by_alias=True, exclude={"timing", "provenance"})


def key_of(cell: Cell) -> str:
    """The first 16 hex digits of the sha256 of the cell's identity and the schema version."""
    return key_of_text(canonical_identity(cell.identity()))


def canonical_identity(identity: Mapping[str, Any]) -> str:
    """The text that a key is the hash of, for the cell with this `Cell.identity`."""
    return canonical({"schema": SCHEMA, "cell": identity})


def key_of_text(text: str) -> str:
    """The key that belongs to a canonical identity."""
    return sha256(text.encode()).hexdigest()[:16]


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **Record.model_json_schema(by_alias=True)}
