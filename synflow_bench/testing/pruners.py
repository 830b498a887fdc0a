"""The rules for pruners, one function per rule, and the pruner that they check."""

from __future__ import annotations

import pickle
import timeit
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from synflow_bench.errors import NotDefinedError, PluginError, ScoreError
from synflow_bench.pruning import Masks, Problem, Pruner, resolve_pruner, run_pruner
from synflow_bench.suites import GRANULARITIES, PrunerSpec, PruningOptions
from synflow_bench.testing import networks, state
from synflow_bench.testing.networks import Build, plain, seeded, with_batch_norm, with_biases
from synflow_bench.testing.rules import Broken, Dependencies, PluginSubject, Rule, Skipped, gate, rule
from synflow_bench.testing.state import NetworkState, changed, copies, hooks_and_attributes

T = TypeVar("T")

COMPRESSIONS = (2, 10, 100, 1000)
TRIED = (10.0, 5.0, 2.0, 1.25)
"""The compressions of most rules: the first at which the method is defined for the network of the rule."""
MAX_SECONDS = 60.0
"""The longest time that one pruning of 2,576 weights may take."""
MAX_MEMORY_RATIO = 200.0
"""The most memory that a pruner may take on that network, relative to magnitude scores."""


@dataclass
class PrunerSubject(PluginSubject):
    """A pruner to check: a class, with parameters in place of some defaults."""

    parameters: Mapping[str, Any] = field(default_factory=dict)

    def make(self) -> Pruner:
        """Make a new pruner with the parameters."""
        spec = PrunerSpec(name=self.name, parameters=dict(self.parameters))
        return resolve_pruner(self.plugin, spec, self.title)[0]

    def problem(self, network: nn.Module, **options: bool | str) -> Problem:
        """Return the problem of pruning `network`, with data only if the pruner needs them."""
        return Problem.of(
            network,
            input_shape=networks.INPUT_SHAPE,
            num_classes=networks.CLASSES,
            generator=torch.Generator().manual_seed(0),
            options=PruningOptions.model_validate(options),
            examples=networks.examples(next(network.parameters()).dtype) if self.plugin.needs_data else None,
        )

    def prune(self, build: Build = plain, compression: float | None = None, **options: bool | str) -> Masks:
        """Prune a new network with a new pruner, as a run does.

        Raises:
            NotDefinedError: The method is not defined at `compression`, by default at none of `TRIED`.
        """
        if compression is None:
            return where_defined(lambda each: self.prune(build, each, **options))
        problem = self.problem(seeded(build), **options)
        with state.restored_globals():
            return run_pruner(self.make(), problem, 1 / compression).masks

    @cached_property
    def plain_masks(self) -> Masks:
        """The masks of the plain network.

        Raises:
            Skipped: The pruner raises here; another rule reports that.
        """
        with self._skip_if_it_fails("a plain network"):
            return self.prune()

    @cached_property
    def changes(self) -> dict[str, list[str]]:
        """The names of everything that one pruning of a network with batch norm changes, by kind.

        Raises:
            Skipped: The pruner raises here; another rule reports that.
        """
        return where_defined(self._changes)

    def _changes(self, compression: float) -> dict[str, list[str]]:
        network = seeded(networks.in_use)
        randomness, settings, hooks = state.random_states(), state.global_settings(), state.global_hooks()
        before, problem = NetworkState.of(network), self.problem(network)
        dense, data = copies(problem.dense.items()), _scoring_data(problem)
        hooks_of_copy = hooks_and_attributes(problem.model)
        with self._skip_if_it_fails("a network with batch norm"):
            run_pruner(self.make(), problem, 1 / compression)
        after = NetworkState.of(network)
        return {
            "weights": changed(before.weights, after.weights) or changed(dense, problem.dense),
            "buffers": changed(before.buffers, after.buffers),
            "gradients": changed(before.gradients, after.gradients),
            "modes": changed(before.modes, after.modes),
            "hooks": changed(before.hooks, after.hooks)
            or changed(hooks_of_copy, hooks_and_attributes(problem.model))
            or changed(hooks, state.global_hooks()),
            "data": changed(data, _scoring_data(problem)),
            "randomness": changed(randomness, state.random_states()),
            "settings": changed(settings, state.global_settings()),
        }

    @contextmanager
    def _skip_if_it_fails(self, task: str) -> Iterator[None]:
        try:
            yield
        except (Skipped, NotDefinedError):
            raise
        except (Exception, SystemExit) as error:
            if self.dependencies.missing(error):
                raise
            raise Skipped(f"not checked: it cannot prune {task}") from error


def where_defined(compute: Callable[[float], T]) -> T:
    """Return what `compute` gives for the first compression of `TRIED` at which it is defined.

    Raises:
        NotDefinedError: It is defined at none; the reason is that of the lowest.
    """
    *higher, lowest = TRIED
    for compression in higher:
        with suppress(NotDefinedError):
            return compute(compression)
    return compute(lowest)


def _scoring_data(problem: Problem) -> dict[str, Tensor]:
    return copies(zip(("inputs", "labels"), problem.examples or (), strict=False))


def contract(subject: PrunerSubject) -> None:
    """The pruner is a subclass of Pruner that can be made without arguments."""
    subject.require_subclass(Pruner)
    subject.make()
    needs_data, revision = subject.plugin.needs_data, subject.plugin.revision
    if type(needs_data) is not bool:
        raise Broken(f"needs_data is {needs_data!r}; write True or False")
    if type(revision) is not int or revision < 1:
        raise Broken(f"revision is {revision!r}; write a whole number from 1 on")


def data_free(subject: PrunerSubject) -> None:
    """The pruner uses no data if it declares that it needs none."""
    if subject.plugin.needs_data:
        raise Skipped("it declares that it needs data")
    problem = subject.problem(seeded(plain))
    sealed = _SealedProblem(**{field.name: getattr(problem, field.name) for field in fields(problem)})
    try:
        where_defined(lambda compression: run_pruner(subject.make(), sealed, 1 / compression))
    except _DataRequestedError as error:
        raise Broken("it requests batches although needs_data is False; set needs_data = True") from error
    except (Exception, SystemExit):  # noqa: S110  later rules report other faults
        pass


class _DataRequestedError(Exception):
    """A data-free pruner requests a batch."""


@dataclass(frozen=True)
class _SealedProblem(Problem):
    """A problem that raises when a pruner requests data."""

    def batches(self, size: int | None = None) -> Any:
        raise _DataRequestedError(size)


def scores_fit(subject: PrunerSubject) -> None:
    """The pruner gives a floating-point score of the right shape per prunable weight, and no other scores."""
    problem, scores = _scored(subject)
    for name in sorted(problem.parameters.keys() - scores.keys()):
        raise Broken(f"no scores for layer {name!r}")
    for name in sorted(scores.keys() - problem.parameters.keys()):
        raise Broken(f"scores for {name!r}, which is not prunable here")
    for name, parameter in problem.parameters.items():
        score = scores[name]
        if not isinstance(score, Tensor) or not score.is_floating_point():
            raise Broken(f"scores of layer {name!r} are {_type_of(score)}; they must be floating point")
        if score.shape != parameter.shape:
            shapes = f"{tuple(score.shape)}, not {tuple(parameter.shape)}"
            raise Broken(f"scores of layer {name!r} have shape {shapes}")


def scores_finite(subject: PrunerSubject) -> None:
    """The scores have no NaN and no infinity, at least in float64."""
    for dtype in (torch.float32, torch.float64):
        _, scores = _scored(subject, dtype)
        invalid = [name for name, score in scores.items() if not bool(torch.isfinite(score).all())]
        if not invalid:
            return
    raise Broken(f"scores of layer {invalid[0]!r} are not finite")


def scores_rank(subject: PrunerSubject) -> None:
    """The scores differ within every layer, so that they rank its weights."""
    problem, _ = _scored(subject)
    try:
        problem.keep(subject.make().score)
    except ScoreError as error:
        raise Broken(str(error)) from error
    if problem.unranked:
        raise Broken(problem.warnings[0])


def _scored(
    subject: PrunerSubject, dtype: torch.dtype = torch.float32
) -> tuple[Problem, Mapping[str, Tensor]]:
    """Return the first round of pruning the plain network, and its scores."""
    if subject.plugin.score is Pruner.score:
        raise Skipped("it makes masks without scores")

    def scored(compression: float) -> tuple[Problem, Mapping[str, Tensor]]:
        problem = subject.problem(seeded(plain).to(dtype))
        problem = problem.at(problem.masks, density=1 / compression, round=1)
        return problem, subject.make().score(problem)

    problem, scores = where_defined(scored)
    if not isinstance(scores, Mapping):
        raise Broken(f"score() returned {_type_of(scores)}; return a mapping of parameter names to scores")
    return problem, scores


def _type_of(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def exact_density(subject: PrunerSubject) -> None:
    """The pruner keeps round(N / compression) weights at 2, 10, 100, 1000, and one weight at the limit.

    A compression at which the method is not defined is passed over.
    """
    size = subject.problem(seeded(plain)).masks.size
    refusals = []
    for compression in (every := (*COMPRESSIONS, size)):
        try:
            kept = subject.prune(compression=compression).kept
        except NotDefinedError as refusal:
            refusals.append(refusal)
            continue
        except PluginError as error:
            raise Broken(f"at compression {compression}: {error}") from error
        if kept != round(size / compression):
            raise Broken(f"at compression {compression}: {kept} of {size} weights kept")
    if len(refusals) == len(every):
        raise refusals[0]


def granularity(subject: PrunerSubject) -> None:
    """The pruner keeps groups of weights at compression 2 for granularity 2:4, kernel, channel and fan-in.

    A pruner without scores, or one that changes masks in training, is not checked: it cannot.
    """
    _ = subject.plain_masks
    for name in ("2:4", *GRANULARITIES[1:]):
        try:
            subject.prune(compression=2.0, granularity=name)
        except PluginError as error:
            raise Broken(str(error)) from error


def deterministic(subject: PrunerSubject) -> None:
    """The pruner gives the same masks again with an equal generator, on one thread and on two."""
    _ = subject.plain_masks
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
    """The pruner leaves the weights of the network, and problem.dense, as they were."""
    _require_unchanged(subject, "weights", "weights of")


def buffers_unchanged(subject: PrunerSubject) -> None:
    """The pruner leaves the buffers of the network as they were."""
    _require_unchanged(subject, "buffers", "buffers")


def gradients_unchanged(subject: PrunerSubject) -> None:
    """The pruner leaves the gradients of the network as they were."""
    _require_unchanged(subject, "gradients", "gradients of")


def modes_unchanged(subject: PrunerSubject) -> None:
    """The pruner leaves training and eval modes as they were."""
    _require_unchanged(subject, "modes", "modes of")


def hooks_removed(subject: PrunerSubject) -> None:
    """The pruner removes the hooks that it registers, and sets no attributes or methods of modules."""
    _require_unchanged(subject, "hooks", "hooks or attributes of")


def data_unchanged(subject: PrunerSubject) -> None:
    """The pruner leaves the scoring data as they were."""
    if not subject.plugin.needs_data:
        raise Skipped("it declares that it needs no data")
    _require_unchanged(subject, "data", "scoring data:")


def randomness_unchanged(subject: PrunerSubject) -> None:
    """The pruner leaves the global random generators of torch, numpy and Python as they were."""
    _require_unchanged(subject, "randomness", "global random state of")


def settings_unchanged(subject: PrunerSubject) -> None:
    """The pruner leaves torch's settings, the environment and the working folder as they were."""
    _require_unchanged(subject, "settings", "settings:")


def _require_unchanged(subject: PrunerSubject, kind: str, what: str) -> None:
    if names := subject.changes[kind]:
        raise Broken(f"{what} {', '.join(names)} changed")


def batch_norm(subject: PrunerSubject) -> None:
    """The pruner prunes networks with batch norm."""
    _require_pruning(subject, with_batch_norm)


def residual(subject: PrunerSubject) -> None:
    """The pruner prunes networks with residual connections, which are no Sequential."""
    _require_pruning(subject, networks.ResidualNetwork)


def biases(subject: PrunerSubject) -> None:
    """The pruner prunes networks with biases, both if biases are prunable and if they are not."""
    _require_pruning(subject, with_biases)
    _require_pruning(subject, with_biases, prune_bias=True)


def dense_classifier(subject: PrunerSubject) -> None:
    """The pruner prunes networks whose classifier stays dense."""
    _require_pruning(subject, plain, dense_classifier=True)


def _require_pruning(subject: PrunerSubject, build: Build, **options: bool) -> None:
    _ = subject.plain_masks  # skips a pruner that cannot even prune a plain network
    subject.prune(build, **options)


def pickles(subject: PrunerSubject) -> None:
    """The pruner can be sent to another process: a pickled pruner is loaded as an equal one."""
    pruner = subject.make()
    try:
        loaded = pickle.loads(pickle.dumps(pruner))  # our own bytes  # noqa: S301  # nosec B301
    except Exception as error:
        raise Broken(f"it cannot be pickled: {' '.join(str(error).split())}") from error
    if loaded != pruner:
        raise Broken(f"{pruner} is loaded as {loaded}")


def cost(subject: PrunerSubject) -> str:
    """The pruner takes at most a minute, and 200 times the memory of magnitude scores."""
    _ = subject.plain_masks
    seconds, memory = _cost_of(subject)
    magnitude = PrunerSubject("magnitude", lambda: _MagnitudeReference, Dependencies())
    magnitude_seconds, magnitude_memory = _cost_of(magnitude, repetitions=3)
    memory_ratio = memory / magnitude_memory
    if seconds > MAX_SECONDS:
        raise Broken(f"it takes {seconds:.1f} s for 2,576 weights; the most is {MAX_SECONDS:g} s")
    if memory_ratio > MAX_MEMORY_RATIO:
        most = f"the most is {MAX_MEMORY_RATIO:g}"
        raise Broken(f"it takes {memory_ratio:.0f} times the memory of magnitude; {most}")
    time_ratio = seconds / magnitude_seconds
    return f"{seconds:.3f} s, {time_ratio:.1f} times magnitude; memory {memory_ratio:.1f} times"


def _cost_of(subject: PrunerSubject, repetitions: int = 1) -> tuple[float, int]:
    """Return the seconds of the fastest of several prunings, and the peak memory of tensors in bytes."""
    seconds = min(timeit.repeat(subject.prune, number=1, repeat=repetitions))
    with state.PeakMemory() as memory:
        subject.prune()
    return seconds, memory.peak


class _MagnitudeReference(Pruner):
    """Magnitude scores, to which the cost of a pruner is compared."""

    needs_data: ClassVar[bool] = False

    def score(self, problem: Problem) -> dict[str, Tensor]:
        return {name: p.detach().abs() for name, p in problem.parameters.items()}


PRUNER_RULES: tuple[Rule[PrunerSubject], ...] = (
    *map(gate, (contract, data_free, scores_fit, scores_finite, scores_rank)),
    *map(rule, (exact_density, granularity, deterministic)),
    *map(rule, (weights_unchanged, buffers_unchanged, gradients_unchanged, modes_unchanged, hooks_removed)),
    *map(rule, (data_unchanged, randomness_unchanged, settings_unchanged)),
    *map(rule, (batch_norm, residual, biases, dense_classifier)),
    *map(rule, (pickles, cost)),
)
"""The rules for pruners, in the order of their check."""
