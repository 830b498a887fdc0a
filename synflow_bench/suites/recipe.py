"""Recipes: how a network is trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from synflow_bench.suites.values import NUMBER, Count, Flag, Positive, Value

Optimizer = Literal["sgd", "momentum", "adam", "rmsprop"]
Schedule = Literal["constant", "step", "cosine"]
Precision = Literal["fp32", "bf16"]
Compile = Literal["no", "yes", "cuda-graphs"]


class Recipe(Value):
    """Epochs, optimizer, learning-rate schedule, batches and precision of one training.

    The optimizer `momentum` is SGD with Nesterov momentum; `sgd` has no momentum. The schedule `step`
    multiplies the learning rate by `gamma` at the start of each epoch in `milestones` (counted from zero);
    `cosine` decays it to zero over the training, step by step; during `warmup_epochs` it first rises linearly
    from zero. `compile` lets torch compile the network for the training steps, which takes seconds to minutes
    at the start of each training; `cuda-graphs` also launches all its kernels as one, on CUDA devices only.
    """

    epochs: Count
    optimizer: Optimizer = "momentum"
    lr: Annotated[float, Field(gt=0, strict=True), NUMBER] = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1, strict=True), NUMBER] = 0.9
    weight_decay: Annotated[float, Field(ge=0, strict=True), NUMBER] = 0.0
    schedule: Schedule = "constant"
    milestones: tuple[Positive, ...] = ()
    gamma: Annotated[float, Field(gt=0, le=1, strict=True), NUMBER] = 0.1
    warmup_epochs: Count = 0
    batch_size: Positive = 128
    label_smoothing: Annotated[float, Field(ge=0, lt=1, strict=True), NUMBER] = 0.0
    gradient_clip: Annotated[float, Field(gt=0, strict=True), NUMBER] | None = None
    augment: Flag = True
    validation_fraction: Annotated[float, Field(ge=0, lt=1, strict=True), NUMBER] = 0.1
    precision: Precision = "fp32"
    channels_last: Flag = False
    compile: Compile = "no"

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if problems := [*self._without_effect(), *self._contradictions()]:
            raise ValueError("; ".join(problems))
        return self

    @property
    def omitted(self) -> set[str]:
        """Fields newer than the first records and without effect here: neither hashed nor written."""
        return {"compile"} if self.compile == "no" else set()

    def _without_effect(self) -> Iterator[str]:
        # A default that is written out is allowed: records write out all of them.
        fields = type(self).model_fields
        given = {name for name in self.model_fields_set if getattr(self, name) != fields[name].default}
        if "momentum" in given and self.optimizer != "momentum":
            yield f"momentum has no effect with optimizer {self.optimizer!r}; leave it out"
        for field in ("milestones", "gamma"):
            if field in given and self.schedule != "step":
                yield f"{field} has no effect with schedule {self.schedule!r}; leave it out"

    def _contradictions(self) -> Iterator[str]:
        if self.schedule == "step" and not self.milestones:
            yield "schedule 'step' needs milestones, such as milestones = [60, 120]"
        if list(self.milestones) != sorted(set(self.milestones)):
            yield f"milestones must increase: {list(self.milestones)}"
        if self.warmup_epochs > self.epochs:
            yield f"warmup_epochs {self.warmup_epochs} exceeds epochs {self.epochs}"
