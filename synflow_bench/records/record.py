"""Records: the result of a cell as one validated value, and its key.

A record's JSON is the format on disk; see `docs/reference/records.md`. Its numbers must agree with each other
and with the density that its cell asks for, and its file with the sha256 in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from math import isclose
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, model_validator

from synflow_bench.errors import LONGEST_TEXT, NotDefinedError, capped, raised_at
from synflow_bench.suites import Cell, Count, Positive, canonical

SCHEMA: Literal[1] = 1
"""The version of the record's layout; part of every key."""

LARGEST = 16 * 2**20
"""The bytes of a record at most; a larger file is refused before it is read."""

Status = Literal["ok", "failed", "skipped"]
Engine = Literal["eager", "compiled", "graphed", "stacked", "vmapped", "shrunk"]


def _finite_or_none(value: Any) -> Any:
    return None if isinstance(value, float) and not (abs(value) < float("inf")) else value


LossValue = Annotated[float | None, BeforeValidator(_finite_or_none)]
"""A loss; None if the training diverged."""
Share = Annotated[float, Field(ge=0, le=1)]
Ratio = Annotated[float, Field(ge=1, le=1e30)]
"""A factor of compression or speedup; sums and products of some are finite."""
Amount = Annotated[float, Field(ge=0, le=1e30)]
"""A cost in units of one dense training."""
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Text = Annotated[str, BeforeValidator(lambda text: capped(text) if isinstance(text, str) else text)]
"""Text from a plugin: what is too long is cut, and what UTF-8 cannot hold is replaced."""
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A sha256 in hex."""
LongText = Annotated[
    str, BeforeValidator(lambda text: capped(text, 5 * LONGEST_TEXT) if isinstance(text, str) else text)
]
"""A `Text` of many lines."""


class _Part(BaseModel):
    # Its own validator is built when first used: a record's contains those of its parts already.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)


class Metrics(_Part):
    """The numbers of a cell. Accuracies and densities are shares in [0, 1].

    Attributes:
        test_top1: The accuracy on the test set after the final epoch.
        test_top5: The same, with the label among the five largest logits; None below six classes.
        test_loss: The mean loss on the test set after the final epoch.
        val_top1: The accuracy on the validation split; None without one.
        max_test_top1: The best test accuracy over epochs, only to compare with publications that report it.
        init_top1: The test accuracy before training.
        density: Kept over prunable weights.
        compression: Prunable over kept weights.
        compression_all: All parameters over those that are left.
        effective_compression: Prunable weights over those kept ones that are on a path of kept weights from
            input to output; None if none is, or if paths are not known.
        not_followed: The reason why paths are not known.
        theoretical_speedup: Multiply-accumulates of the dense network over those of weights on a path of kept
            weights from input to output; None if no path is left. Where paths are not known, over those of
            kept weights. Masks only simulate sparsity: nothing runs faster.
        collapsed_layers: Layers without a kept weight on a path, or, if paths are not known, without a kept
            weight.
        diverged: True if a training loss was not finite.
    """

    test_top1: Share
    test_top5: Share | None
    test_loss: LossValue
    val_top1: Share | None
    max_test_top1: Share
    init_top1: Share
    density: Share
    compression: Ratio
    compression_all: Ratio
    effective_compression: Ratio | None = None
    not_followed: Text | None = None
    theoretical_speedup: Ratio | None
    collapsed_layers: tuple[Text, ...] = ()
    diverged: bool = False

    @model_validator(mode="after")
    def _best_is_no_less_than_the_last(self) -> Self:
        if self.max_test_top1 < self.test_top1:
            raise ValueError(f"max_test_top1 {self.max_test_top1} is below test_top1 {self.test_top1}")
        return self


class Layer(_Part):
    """One prunable tensor.

    Attributes:
        name: The name of the parameter.
        shape: Its shape.
        size: The number of its weights.
        kept: The number of kept weights.
        effective_kept: The number of kept weights on a path from input to output; None if not known.
        macs: The multiply-accumulates of its dense form for one example.
    """

    name: Text
    shape: tuple[Count, ...]
    size: Count
    kept: Count
    effective_kept: Count | None = None
    macs: Count

    @model_validator(mode="after")
    def _keeps_no_more_than_there_is(self) -> Self:
        if problem := self.weights.problem:
            raise ValueError(problem)
        return self

    @property
    def weights(self) -> WeightCounts:
        """The numbers of its weights."""
        return WeightCounts(self.size, self.kept, self.effective_kept)


class Epoch(_Part):
    """One point of the training curve, measured after epoch `epoch` (from 1; 0 is before training)."""

    epoch: Count
    lr: Annotated[float, Field(ge=0, le=1e30)]
    train_loss: LossValue
    val_top1: Share | None
    test_top1: Share
    test_loss: LossValue


class Level(_Part):
    """One training of the multishot (iterative) protocol, after `level` prunings; 0 is the dense network.

    `density` is that of the trained weights; the accuracies are those of the last epoch.
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


class Cost(_Part):
    """The multiply-accumulates (MACs) of a whole cell, in units of one dense training of its recipe.

    A training step costs three forward passes, of the weights that the speedup counts. Every training of the
    cell counts, and every pass of its prunings; evaluations do not.

    Attributes:
        training: The cost of all trainings.
        pruning: The cost of all prunings: the forward and backward passes of scores and searches.
        total: The sum of both.
        dense_macs: The MACs of one forward pass of one example of the dense network.
        examples: The examples that one training of the recipe sees.
        not_counted: The reason why there is no cost, one line; all other fields are None then.
    """

    training: Amount | None = None
    pruning: Amount | None = None
    total: Amount | None = None
    dense_macs: Count | None = None
    examples: Count | None = None
    not_counted: Text | None = None

    @model_validator(mode="after")
    def _is_counted_or_says_why_not(self) -> Self:
        numbers = (self.training, self.pruning, self.total, self.dense_macs, self.examples)
        known = [number for number in numbers if number is not None]
        if self.not_counted is not None:
            if known:
                raise ValueError("a cost that cannot be counted has no numbers")
        elif self.training is None or self.pruning is None or len(known) < len(numbers):
            raise ValueError("a cost needs all its numbers, or the reason why it is not counted")
        elif not isclose(self.total or 0.0, self.training + self.pruning, abs_tol=1e-12):
            raise ValueError(f"total is {self.total}, where its parts give {self.training + self.pruning}")
        return self


class Provenance(_Part):
    """The software and the machine that made a record. Never part of the key.

    `engine` computed the training steps: `eager`, one network layer by layer; `compiled`, one through torch's
    compiler; `graphed`, one as a CUDA graph; `stacked`, several small networks in one batched training;
    `vmapped`, the same of convolutional networks;
    `shrunk`, one network by one of the first three after compaction, without its dead units. They differ in
    the rounding of sums. `algorithms` are the choices of a GPU's libraries on which the rounding also
    depends; they are not written for other devices. `warnings`
    are those of the pruning, such as layers without any score; they are not written if there are none.
    `data` is the sha256 of the examples as they were loaded. `resumed` is the number of times that the cell
    continued from a checkpoint; it is not written if that is zero. `served` are the distributions and plugin
    files of third parties whose code the process had loaded, with versions; it is not written if there are
    none.
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
    algorithms: dict[str, str] = {}
    plugins: dict[str, Text] = {}
    warnings: tuple[Text, ...] = ()
    served: tuple[Text, ...] = ()
    data: Digest | None = None
    resumed: Count = 0


class Failure(_Part):
    """The reason why a cell failed or was skipped: one line, with the traceback if the code has a bug."""

    kind: Text
    message: Text
    traceback: LongText | None = None

    def __str__(self) -> str:
        return self.kind if self.message == self.kind else f"{self.kind}: {self.message}"

    @property
    def not_defined(self) -> bool:
        """True if the method is not defined for this network and compression: no later run changes that."""
        return self.kind == NotDefinedError.__name__

    @property
    def raised_at(self) -> str | None:
        """The line of a plugin that raised, such as `mine.py:7`, if the traceback has one."""
        return raised_at(self.traceback or "")


class Record(BaseModel):
    """The result of a cell; see `docs/reference/records.md` for the JSON Schema.

    Attributes:
        schema_version: `SCHEMA`; `schema` in the JSON.
        key: `key_of(cell)`, which is also the name of the file.
        sha256: That of the file without the line of this field; None in files of before there was one.
        status: `ok` with metrics; `failed` or `skipped` with an error.
        cell: The cell.
        metrics: The numbers of the whole network.
        layers: The numbers of each prunable tensor.
        left_out: The weights that are not prunable, such as embeddings; not written if there are none.
        curve: The training curve of the last training.
        levels: The earlier trainings of the multishot protocol.
        timing: The seconds of its parts.
        cost: The multiply-accumulates of its parts; not written by versions that did not count them.
        provenance: The software and the machine.
        masks: The sha256 of the masks.
        error: The reason of a failure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    key: str
    sha256: Digest | None = None
    status: Status
    cell: Cell
    metrics: Metrics | None = None
    layers: Annotated[tuple[Layer, ...], FailFast()] = ()
    left_out: Annotated[tuple[Text, ...], FailFast()] = ()
    curve: Annotated[tuple[Epoch, ...], FailFast()] = ()
    levels: Annotated[tuple[Level, ...], FailFast()] = ()
    timing: Timing | None = None
    cost: Cost | None = None
    provenance: Provenance
    masks: str | None = None
    error: Failure | None = None

    @property
    def outcome(self) -> str:
        """The status; `not defined` for a cell that was skipped because its method is not defined there."""
        return "not defined" if self.error and self.error.not_defined else self.status

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
        weights = sum_weights(layer.weights for layer in self.layers)
        if self.metrics and (problem := disagreement(self.cell, self.metrics, weights)):
            raise ValueError(problem)
        return self

    def to_json(self) -> str:
        """Return the record as indented JSON with a final newline, without unused newer fields."""
        text = self._text()
        if self.sha256 is None:
            return text
        head, key, rest = text.partition(f'"key": "{self.key}",\n')
        return f'{head}{key} "sha256": "{_sha256(text.encode())}",\n{rest}'

    def sealed(self) -> Record:
        """Return the record with the `sha256` of its content."""
        return self.model_copy(update={"sha256": _sha256(self._text().encode())})

    def _text(self) -> str:
        setting, provenance = self.cell.setting, self.provenance
        omitted: dict[str, Any] = {
            "sha256": True,
            "cell": {"setting": {"recipe": setting.recipe.omitted, "pruning": setting.pruning.omitted}},
            "provenance": {name for name in _RARE if not getattr(provenance, name)},
        }
        omitted |= {name: True for name in ("left_out", "cost") if not getattr(self, name)}
        # All but the setting's are newer than the first records, which have none of them.
        return self.model_dump_json(by_alias=True, indent=1, exclude=omitted) + "\n"

    @property
    def result(self) -> dict[str, Any]:
        """All that must be equal for equal cells: not timing, cost, provenance and their `sha256`."""
        beside = {"sha256", "timing", "cost", "provenance"}
        return self.model_dump(mode="json", by_alias=True, exclude=beside)


_RARE = ("warnings", "served", "data", "resumed", "algorithms")
"""The parts of a provenance that are not written if they are empty."""

_SEAL = re.compile(rb'^ "sha256": "([0-9a-f]{64})",\n', re.MULTILINE)


def is_intact(content: bytes, given: str | None) -> bool:
    """Return True if the content of a record's file has the sha256 that it says, or says none.

    `grep -v '^ "sha256"' FILE | sha256sum` computes it too.

    Args:
        content: The content of the file.
        given: The field `sha256` in it.
    """
    if given is None:
        return True
    line = _SEAL.search(content)
    if line is None or line[1] != given.encode():
        return False
    return _sha256(content[: line.start()] + content[line.end() :]) == given


def _sha256(content: bytes) -> str:
    return sha256(content).hexdigest()


class WeightCounts(NamedTuple):
    """Numbers of weights: all, the kept ones, and the kept ones on a path, if known."""

    size: int
    kept: int
    effective_kept: int | None

    @property
    def problem(self) -> str | None:
        """A line that says which numbers contradict each other, or None."""
        if self.kept > self.size:
            return f"{self.kept} weights are kept of {self.size}"
        if (self.effective_kept or 0) > self.kept:
            return f"{self.effective_kept} weights are on a path, where {self.kept} are kept"
        return None


def sum_weights(layers: Iterable[WeightCounts]) -> WeightCounts:
    """Sum over layers; the weights on a path are known if they are known for every layer."""
    size, kept, effective = 0, 0, 0
    known = True
    for layer_size, layer_kept, layer_effective in layers:
        size, kept = size + layer_size, kept + layer_kept
        if layer_effective is None:
            known = False
        else:
            effective += layer_effective
    return WeightCounts(size, kept, effective if known else None)


def disagreement(cell: Cell, metrics: Metrics, weights: WeightCounts) -> str | None:
    """Say in one line which numbers of a successful cell disagree; None if all agree.

    The harness keeps exactly round(size / compression) of all weights, and at least one. Of groups of weights
    it keeps whole ones, whose sizes a record does not tell.
    """
    size, kept, effective = weights
    expected = round(cell.density * size)
    in_groups = cell.setting.pruning.granularity != "weight" and not cell.is_dense and kept
    if (kept != expected or not expected) and not in_groups:
        asks = f"asks for {expected}" if expected else "leaves none"
        return f"{kept} of {size} weights are kept, where compression {cell.compression:g} {asks}"
    if cell.is_dense and kept != size:
        return f"the dense network keeps all of its {size} weights, not {kept}"
    if not isclose(metrics.density, kept / size):
        return _differs("density", metrics.density, kept / size)
    if not isclose(metrics.compression, size / kept):
        return _differs("compression", metrics.compression, size / kept)
    given, counted = metrics.effective_compression, size / effective if effective else None
    if given is counted or (given and counted and isclose(given, counted)):
        return None
    return _differs("effective_compression", given, counted)


def _differs(name: str, given: float | None, counted: float | None) -> str:
    return f"metrics.{name} is {given}, where the weights of the layers give {counted}"


def key_of(cell: Cell) -> str:
    """Return the key of a cell: 16 hex digits of the sha256 of its identity and the schema version."""
    return key_of_text(canonical_identity(cell.identity()))


def canonical_identity(identity: Mapping[str, Any]) -> str:
    """Return the text whose hash is the key of the cell with this `Cell.identity`."""
    return canonical({"schema": SCHEMA, "cell": identity})


def key_of_text(text: str) -> str:
    """Return the key for a canonical identity."""
    return _sha256(text.encode())[:16]


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a record."""
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **Record.model_json_schema(by_alias=True)}
