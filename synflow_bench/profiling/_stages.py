"""Which functions of the harness belong to which stage of a cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from synflow_bench.profiling._stopwatch import Stopwatch


@dataclass(frozen=True)
class Stage:
    """A row of a profile: its name and the functions it stands for, as `module:attribute`.

    With `inside`, they count only within that stage: a pruner goes backward, too.
    """

    name: str
    functions: tuple[str, ...]
    inside: str | None = None


_P = "synflow_bench.protocols"
_T = "synflow_bench.training"
_STEP = "training: forward, loss"

STAGES = (
    Stage("plugins, device", ("synflow_bench.execution._bench:make_bench",)),
    Stage("data: read, divide", (f"{_P}._bench:Bench.data", f"{_P}._bench:Bench.divided")),
    Stage("network: build, try", (f"{_P}._stages:build_network",)),
    Stage("connectivity, sizes", (f"{_P}._network:trace", f"{_P}._stages:measure_size")),
    Stage("cells: may they share", (f"{_P}._run:can_share",)),
    Stage("pruning: copies, masks", (f"{_P}._singleshot:prune_network", f"{_P}._multishot:prune_network")),
    Stage("pruning: its data", (f"{_P}._stages:balanced_examples",)),
    Stage("pruning: scores", ("synflow_bench.pruning:Problem.keep",)),
    Stage("pruning: selection", ("synflow_bench.pruning:Problem._keep",)),
    Stage("shrinking", (f"{_P}._stages:shrink",)),
    Stage("training: batches, loop", (f"{_P}._run:train_together",)),
    Stage(_STEP, (f"{_T}.step:TrainingStep.__call__", f"{_T}.step:StackedStep.__call__")),
    Stage("training: backward", ("torch.autograd:backward",), inside=_STEP),
    Stage(
        "training: masks",
        (
            f"{_T}.masking:MaskedWeights.mask_gradients",
            f"{_T}.masking:MaskedWeights.mask_weights",
            f"{_T}.masking:MaskedWeights.check",
            f"{_T}.stacked:Survivors.gather",
            f"{_T}.stacked:Survivors.scatter",
        ),
    ),
    Stage(
        "training: optimizer",
        (
            f"{_T}.optimizers:_SGD.step",
            f"{_T}.optimizers:_Adam.step",
            f"{_T}.optimizers:_RMSprop.step",
        ),
        inside=_STEP,
    ),
    Stage("evaluation", (f"{_T}.loop:evaluate",)),
    Stage("record: make", (f"{_P}._run:record_of", f"{_P}._run:provenance_of")),
    Stage("record: write", ("synflow_bench.records:Store.put",)),
)
"""In the order of a cell."""


@contextmanager
def watched(stopwatch: Stopwatch) -> Iterator[None]:
    """Time all stages until the end of the context."""
    targets = [(stage, *_target(place)) for stage in STAGES for place in stage.functions]
    before = [(owner, name, getattr(owner, name)) for _, owner, name in targets]
    for stage, owner, name in targets:
        setattr(owner, name, stopwatch.timed(stage.name, getattr(owner, name), stage.inside))
    try:
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _target(place: str) -> tuple[Any, str]:
    module, _, attribute = place.partition(":")
    owner, *path = import_module(module), *attribute.split(".")
    for part in path[:-1]:
        owner = getattr(owner, part)
    return owner, path[-1]
