"""What every pruner must keep to: one small function a rule."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import torch
from torch import Tensor

from synflow_bench.errors import PluginError, ScoreError
from synflow_bench.pruning import Problem, Pruner, run_pruner
from synflow_bench.testing._cost import MAGNITUDE, cost_of
from synflow_bench.testing._networks import Residual, plain, seeded, with_batch_norm, with_biases
from synflow_bench.testing._rule import Broken, NotAsked, Rule, gate, rule
from synflow_bench.testing._sealed import AskedForDataError, sealed
from synflow_bench.testing._subject import PrunerSubject, check_kind

COMPRESSIONS = (2, 10, 100, 1000)
MOST_SECONDS = 60.0
"""How long one pruning of 2,576 weights may take."""
MOST_MEMORY = 200.0
"""How many times the memory of scoring by magnitude a pruner may take on a network of that size."""


def contract(subject: PrunerSubject) -> None:
    """Is a subclass of Pruner that can be made without arguments."""
    check_kind(subject.kind)
    subject.make()
    if type(subject.kind.needs_data) is not bool:
        raise Broken(f"needs_data is {subject.kind.needs_data!r}; write True or False")
    if type(subject.kind.revision) is not int or subject.kind.revision < 1:
        raise Broken(f"revision is {subject.kind.revision!r}; write a whole number from 1 on")


def data_free(subject: PrunerSubject) -> str | None:
    """Looks at no data if it says that it needs none."""
    if subject.kind.needs_data:
        raise NotAsked("it says that it needs data")
    problem = sealed(subject.problem(seeded(plain)))
    try:
        run_pruner(subject.make(), problem, 1 / 10)
    except AskedForDataError as error:
        raise Broken("it asks for batches though needs_data is False; set needs_data = True") from error
    except (Exception, SystemExit):
        return None  # what else may be wrong is for later rules to tell
    return None


def scores_fit(subject: PrunerSubject) -> None:
    """Gives a floating-point score of the right shape for every prunable weight and for nothing else."""
    problem = _first_round(subject)
    scores = _scores(subject, problem)
    missing, unknown = problem.parameters.keys() - scores.keys(), scores.keys() - problem.parameters.keys()
    for name in sorted(missing):
        raise Broken(f"no scores for layer {name!r}")
    for name in sorted(unknown):
        raise Broken(f"scores for {name!r}, which is not prunable here")
    for name, parameter in problem.parameters.items():
        score = scores[name]
        if not isinstance(score, Tensor) or not score.is_floating_point():
            raise Broken(f"scores of layer {name!r} are {_type_of(score)}; they must be floating point")
        if score.shape != parameter.shape:
            raise Broken(f"scores of layer {name!r} have shape {_shape(score)}, not {_shape(parameter)}")


def scores_finite(subject: PrunerSubject) -> None:
    """Gives no NaN and no infinity, in float64 at the latest."""
    if _not_finite(subject, torch.float32):
        for name in _not_finite(subject, torch.float64):
            raise Broken(f"scores of layer {name!r} are not finite")


def scores_rank(subject: PrunerSubject) -> None:
    """Gives scores that differ inside every layer, so that they rank its weights."""
    problem = _first_round(subject)
    _scores(subject, problem)  # a pruner without scores is not asked
    try:
        problem.keep(subject.make().score)
    except ScoreError as error:
        raise Broken(str(error)) from error


def exact_density(subject: PrunerSubject) -> None:
    """Keeps round(N / compression) weights at 2, 10, 100, 1000, and one weight at the limit."""
    size = subject.problem(seeded(plain)).masks.size
    for compression in (*COMPRESSIONS, size):
        try:
            kept = subject.prune(compression=compression).kept
        except PluginError as error:
            raise Broken(f"at compression {compression}: {error}") from error
        if kept != round(size / compression):
            raise Broken(f"at compression {compression}: {kept} of {size} weights kept")


def deterministic(subject: PrunerSubject) -> None:
    """Gives the same masks again with an equal generator, on one thread and on two."""
    _ = subject.plainly
    for threads in (1, 2):
        torch.set_num_threads(threads)
        first, again = subject.prune(), subject.prune()
        if first != again:
            differing = sum(int((first[name] ^ again[name]).sum()) for name in first)
            raise Broken(
                f"{differing} of {first.size} mask entries differ between two prunings with "
                f"{threads} threads; draw from problem.generator alone"
            )


def weights_unchanged(subject: PrunerSubject) -> None:
    """Leaves the weights of the network, and problem.dense, as they were."""
    _unchanged("weights of", subject.changes.weights)


def buffers_unchanged(subject: PrunerSubject) -> None:
    """Leaves the buffers of the network as they were."""
    _unchanged("buffers", subject.changes.buffers)


def gradients_unchanged(subject: PrunerSubject) -> None:
    """Leaves the gradients of the network as they were."""
    _unchanged("gradients of", subject.changes.gradients)


def modes_unchanged(subject: PrunerSubject) -> None:
    """Leaves training and eval modes as they were."""
    _unchanged("modes of", subject.changes.modes)


def hooks_removed(subject: PrunerSubject) -> None:
    """Removes the hooks that it registers, and puts no attributes or methods on modules."""
    _unchanged("hooks or attributes of", subject.changes.hooks)


def data_unchanged(subject: PrunerSubject) -> None:
    """Leaves the scoring data as they were."""
    if not subject.kind.needs_data:
        raise NotAsked("it says that it needs no data")
    _unchanged("scoring data:", subject.changes.data)


def randomness_unchanged(subject: PrunerSubject) -> None:
    """Leaves the global random generators of torch, numpy and Python as they were."""
    _unchanged("global random state of", subject.changes.randomness)


def settings_unchanged(subject: PrunerSubject) -> None:
    """Leaves torch's settings, the environment and the working folder as they were."""
    _unchanged("settings:", subject.changes.settings)


def batch_norm(subject: PrunerSubject) -> None:
    """Prunes networks with batch norm."""
    subject.prune_also(with_batch_norm)


def residual(subject: PrunerSubject) -> None:
    """Prunes networks with residual connections, which are no Sequential."""
    subject.prune_also(Residual)


def biases(subject: PrunerSubject) -> None:
    """Prunes networks with biases, whether they may be pruned or not."""
    subject.prune_also(with_biases)
    subject.prune_also(with_biases, prune_bias=True)


def dense_classifier(subject: PrunerSubject) -> None:
    """Prunes networks whose classifier stays whole."""
    subject.prune_also(dense_classifier=True)


def pickles(subject: PrunerSubject) -> None:
    """Travels between processes: a pickled pruner comes back equal."""
    pruner = subject.make()
    try:
        back = pickle.loads(pickle.dumps(pruner))  # noqa: S301  our own bytes
    except Exception as error:
        raise Broken(f"it cannot be pickled: {' '.join(str(error).split())}") from error
    if back != pruner:
        raise Broken(f"{pruner} comes back as {back}")


def cost(subject: PrunerSubject) -> str:
    """Takes bearable time and memory: a minute, and 200 times the memory of scoring by magnitude."""
    _ = subject.plainly
    seconds, memory = cost_of(subject)
    reference_seconds, reference_memory = cost_of(MAGNITUDE, repetitions=3)
    if seconds > MOST_SECONDS:
        raise Broken(f"it takes {seconds:.1f} s for 2,576 weights; the most is {MOST_SECONDS:g} s")
    if memory > MOST_MEMORY * reference_memory:
        times = memory / reference_memory
        raise Broken(f"it takes {times:.0f} times the memory of magnitude; the most is {MOST_MEMORY:g}")
    return (
        f"{seconds:.3f} s, {seconds / reference_seconds:.1f} times magnitude; "
        f"memory {memory / reference_memory:.1f} times"
    )


PRUNER_RULES: tuple[Rule[PrunerSubject], ...] = (
    gate(contract),
    gate(data_free),
    gate(scores_fit),
    gate(scores_finite),
    gate(scores_rank),
    rule(exact_density),
    rule(deterministic),
    rule(weights_unchanged),
    rule(buffers_unchanged),
    rule(gradients_unchanged),
    rule(modes_unchanged),
    rule(hooks_removed),
    rule(data_unchanged),
    rule(randomness_unchanged),
    rule(settings_unchanged),
    rule(batch_norm),
    rule(residual),
    rule(biases),
    rule(dense_classifier),
    rule(pickles),
    rule(cost),
)


def _first_round(subject: PrunerSubject, dtype: torch.dtype = torch.float32) -> Problem:
    problem = subject.problem(seeded(plain).to(dtype))
    return problem.at(problem.masks, density=0.1, round=1)


def _scores(subject: PrunerSubject, problem: Problem) -> Mapping[str, Tensor]:
    if subject.kind.score is Pruner.score:
        raise NotAsked("it makes masks without scores")
    scores = subject.make().score(problem)
    if not isinstance(scores, Mapping):
        raise Broken(f"score() returned {_type_of(scores)}; return a mapping of parameter names to scores")
    return scores


def _not_finite(subject: PrunerSubject, dtype: torch.dtype) -> list[str]:
    scores = _scores(subject, _first_round(subject, dtype))
    return [name for name, score in scores.items() if not bool(torch.isfinite(score).all())]


def _unchanged(what: str, names: list[str]) -> None:
    if names:
        raise Broken(f"{what} {', '.join(names)} changed")


def _type_of(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)
