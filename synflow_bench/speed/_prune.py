"""How long a pruning takes, worked out from a part of it where the whole would take long."""

from __future__ import annotations

import torch

from synflow_bench.pruning import Problem, resolve_pruner, run_pruner
from synflow_bench.speed._line import line
from synflow_bench.speed._subject import Subject
from synflow_bench.suites import PrunerSpec

COMPRESSION = 10
FEW_EXAMPLES = 16
ROUNDS = "rounds"


def prune_seconds(subject: Subject, spec: PrunerSpec, patience: float) -> float:
    """Seconds that the pruner of `spec` takes for compression 10.

    Where that would take longer than `patience`, a few rounds on a few examples are timed, and then four
    times as many, and the whole is taken to lie on the line through both.
    """
    rounds, examples = _rounds(spec), _examples(subject, spec)
    few = min(FEW_EXAMPLES, examples)

    def cost(units: int) -> float:
        """Of so many examples times rounds: more rounds where there are rounds, else more examples."""
        now = min(rounds, -(-units // few))
        return _timed(subject, spec, now, min(examples, units // now))

    whole = line(cost, few, rounds * examples)
    return whole if whole > patience else _timed(subject, spec, rounds, examples)


def _timed(subject: Subject, spec: PrunerSpec, rounds: int, examples: int) -> float:
    if ROUNDS in spec.parameters:
        spec = spec.model_copy(update={"parameters": {**spec.parameters, ROUNDS: rounds}})
    pruner, _ = resolve_pruner(subject.bench.host.pruners.get(spec.name), spec)
    data, model = subject.data, subject.network.model
    chosen = torch.arange(examples) % len(data.train)
    started = subject.clock(subject.bench.device)
    problem = Problem.of(
        model,
        input_shape=data.input_shape,
        num_classes=data.num_classes,
        generator=torch.Generator().manual_seed(0),
        options=subject.setting.pruning,
        examples=(data.train.inputs(chosen), data.train.labels[chosen]) if pruner.needs_data else None,
    )
    run_pruner(pruner, problem, 1 / COMPRESSION)
    return subject.clock(subject.bench.device) - started


def _rounds(spec: PrunerSpec) -> int:
    given = spec.parameters.get(ROUNDS, 1)
    return given if isinstance(given, int) else 1


def _examples(subject: Subject, spec: PrunerSpec) -> int:
    """How many examples a pruner looks at: one stands for none."""
    looks = subject.bench.host.pruners.get(spec.name).needs_data
    return subject.setting.pruning.examples_per_class * subject.data.num_classes if looks else 1
