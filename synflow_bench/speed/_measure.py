"""Timing what a cell is made of: set-up, pruning, training steps, evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from synflow_bench.data import Dataset
from synflow_bench.errors import HandledError
from synflow_bench.protocols import Bench
from synflow_bench.speed._clock import clock_for
from synflow_bench.speed._line import line
from synflow_bench.speed._memory import forget_peak, peak
from synflow_bench.speed._prune import prune_seconds
from synflow_bench.speed._speed import Speed
from synflow_bench.speed._subject import Subject
from synflow_bench.speed._workload import Workload
from synflow_bench.suites import PrunerSpec, Setting
from synflow_bench.training import MOST_TOGETHER

PROBE = 8
"""Examples of the first look at how long a step takes."""

MOST_STEPS = 400
MOST_EVALUATED = 10_000


@dataclass(frozen=True)
class Patience:
    """How many seconds one number may take; what would take longer is worked out from a part."""

    seconds: float


THOROUGH = Patience(1.5)
BRIEF = Patience(0.3)


class SpeedError(HandledError):
    """A network that cannot be measured, because it does not run."""


def measure(
    setting: Setting,
    bench: Bench,
    pruners: Sequence[PrunerSpec] = (),
    patience: Patience = THOROUGH,
) -> Speed:
    """What this process does of the workload of `setting` on `bench`, and of resolved `pruners`.

    Seconds are of processor time where one thread does everything, so that what else the machine does is left
    out; else of wall time. Networks are trained at compression 10 with weights removed at random, where no
    units can be left out. Raises `SpeedError` where the network does not run.
    """
    dataset: type[Dataset] = bench.host.datasets.get(setting.dataset)
    try:
        clock = clock_for(bench.device, bench.data(setting.dataset).train.resident)
        return _measure(Subject(setting, bench, clock), Workload.of(setting, dataset), pruners, patience)
    except HandledError:
        raise
    except Exception as error:  # a plugin's network may raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SpeedError(f"{setting.title} does not run: {reason}") from error


def _measure(
    subject: Subject, workload: Workload, pruners: Sequence[PrunerSpec], patience: Patience
) -> Speed:
    forget_peak(subject.bench.device)
    subject.setup_seconds()  # the first time is slower
    setup = subject.setup_seconds()
    return Speed(
        workload=workload,
        training=_training(subject, patience),
        evaluation=_evaluation(subject, patience),
        pruning={spec.label: prune_seconds(subject, spec, patience.seconds) for spec in pruners},
        setup_seconds=setup,
        memory_bytes=peak(subject.bench.device),
        measured=datetime.now(UTC).date().isoformat(),
    )


def _training(subject: Subject, patience: Patience) -> dict[int, float]:
    """Examples a second with one network, and with as many as are worth training together."""
    batch = subject.setting.recipe.batch_size
    step = line(lambda size: subject.train_seconds(1, 1, size), min(PROBE, batch), batch)
    if step > patience.seconds / 2:
        return {1: batch / step}
    steps = max(2, min(MOST_STEPS, int(patience.seconds / 2 / step)))
    found = {1: steps * batch / subject.train_seconds(1, steps, batch)}
    if subject.shares:
        fewer, together = max(1, steps // 4), MOST_TOGETHER
        found[together] = together * fewer * batch / subject.train_seconds(together, fewer, batch)
    return found


def _evaluation(subject: Subject, patience: Patience) -> float:
    """Examples a second."""
    each = subject.evaluate_seconds(PROBE) / PROBE
    examples = max(PROBE, min(MOST_EVALUATED, int(patience.seconds / 2 / each)))
    return examples / subject.evaluate_seconds(examples)
