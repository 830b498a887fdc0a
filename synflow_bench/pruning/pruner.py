"""The contract of a pruner, its parameters, and the schedules by which density falls from round to round."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, FrozenInstanceError, asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any, ClassVar, Literal, dataclass_transform, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from synflow_bench.errors import PluginError, UnknownNameError, UsageError, one_line
from synflow_bench.pruning.groups import ScoreGroups
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.problem import Problem, Score
from synflow_bench.suites import PrunerSpec, Scalar, label_of

Schedule = Literal["exponential", "linear"]

MOST_ROUNDS = 1_000_000
"""The most rounds of a pruner: more would not end."""


class _Frozen:
    """Refuses to set attributes, whichever class declared them."""

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Pruner(_Frozen):
    """A method that chooses the weights to keep.

    Subclasses become frozen dataclasses, decorated or not. Their fields are the parameters of the method;
    each has a type and a default. Write `score`, and the harness makes masks of exact density from it; or
    override `prune` to make the masks directly.

    Attributes:
        needs_data: False declares that the method never asks for a batch.
        needs_forward: False declares that the method never runs the network, so that it needs no input.
        revision: A number in the key of every cell; raise it when results change.
        group_revision: A number that is added to `revision` in keys of cells that prune kernels or channels;
            raise it when only their results change.
        newer: Parameters that cells recorded before they existed: at their defaults they are in no key.
        rounds: The number of rounds of scoring and removing: 1 is one-shot, more is iterative pruning.
        schedule: The way in which density falls from round to round, see `densities`.

    Raises:
        PluginError: A field of a subclass has no type or no default, or a default that a suite cannot set.
        UsageError: `rounds` or `schedule` is out of range.

    Example:
        >>> class LargestFirst(Pruner):
        ...     needs_data = False
        ...     power: float = 1.0
        ...
        ...     def score(self, problem):
        ...         return {name: p.detach().abs() ** self.power for name, p in problem.parameters.items()}
        >>> import synflow_bench as sfb
        >>> from torch import nn
        >>> sfb.prune(nn.Linear(10, 10), LargestFirst(power=2), compression=4, input_shape=(10,))
        Masks(25 of 100 kept in 1 layers, compression 4)
    """

    needs_data: ClassVar[bool] = True
    needs_forward: ClassVar[bool] = True
    revision: ClassVar[int] = 1
    group_revision: ClassVar[int] = 0
    newer: ClassVar[frozenset[str]] = frozenset()
    rounds: int = 1
    schedule: Schedule = "exponential"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclass(frozen=True, kw_only=True)(cls)
        # `_Frozen` has them already, and an author's own decorator would refuse to replace these.
        del cls.__setattr__, cls.__delattr__
        _check_parameters(cls)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds must be at least 1, not {self.rounds}")
        if self.rounds > MOST_ROUNDS:
            raise UsageError(f"rounds must be at most {MOST_ROUNDS}, not {self.rounds}")
        if self.schedule not in get_args(Schedule):
            raise UsageError(f"unknown schedule {self.schedule!r}; known: {', '.join(get_args(Schedule))}")

    @property
    def single_weights(self) -> str | None:
        """The reason why this pruner chooses single weights at any granularity; None if it does not."""
        return "makes its masks without scores" if type(self).score is Pruner.score else None

    def score(self, problem: Problem) -> Mapping[str, Tensor]:  # noqa: ARG002 - for those that override it
        """Return a score for every weight of `problem.parameters`, of its shape; higher is kept."""
        raise PluginError(f"pruner {type(self).__name__} defines no score()")

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return masks that keep exactly round(density * N) weights.

        By default, `rounds` rounds of `score`, each of which removes the weights that score least.
        """
        return self.in_rounds(problem, density, self.score)

    _one_of: ClassVar[tuple[tuple[Callable[..., Any], ...], ...]] = ((score, prune),)
    """Methods of which a subclass defines at least one, for each of these groups."""

    @classmethod
    def undefined_methods(cls) -> str | None:
        """Return what is wrong if a method is missing without which the class is no pruner, else None.

        Example:
            >>> class Misspelled(Pruner):
            ...     def scores(self, problem): ...
            >>> Misspelled.undefined_methods()
            "defines neither score() nor prune(); did you mean 'score' by 'scores'?"
        """
        for group in cls._one_of:
            names = [method.__name__ for method in group]
            if all(getattr(cls, name) is method for name, method in zip(names, group, strict=True)):
                missing = " nor ".join(f"{name}()" for name in names)
                return f"defines {'neither' if len(names) > 1 else 'no'} {missing}; {_way_out(cls, names)}"
        return None

    def in_rounds(
        self, problem: Problem, density: float, score: Score, score_groups: ScoreGroups | None = None
    ) -> Masks:
        """Prune in `rounds` rounds of `score`, for a `prune` that first prepares the problem for all of them.

        Args:
            problem: The problem.
            density: The share of the prunable weights to keep.
            score: As for `Problem.keep`, like `score_groups`.
            score_groups: Gives the scores that kernels and channels are ranked by.

        Raises:
            ScoreError: The scores of a layer cannot be ranked.
        """
        masks = problem.masks
        targets = densities(self.schedule, density, self.rounds, masks.density)
        for round, target in enumerate(targets, start=1):
            posed = problem.at(masks, density=target, round=round)
            problem, masks = posed.keep(score, score_groups=score_groups)
        return masks


def _way_out(kind: type[Pruner], names: list[str]) -> str:
    """Return the method of a class that may be meant by one of `names`, or the advice to define one."""
    methods = [name for name in dir(kind) if callable(getattr(kind, name)) and not hasattr(Pruner, name)]
    for name in names:
        if close := get_close_matches(name, [each for each in methods if each not in names], n=1):
            return f"did you mean {name!r} by {close[0]!r}?"
    return "define one of them" if len(names) > 1 else "define it"


def densities(schedule: Schedule, density: float, rounds: int, start: float = 1.0) -> list[float]:
    """Return the density after each of `rounds` rounds from `start` on; the last is `density` exactly.

    After round t of T, the density is start * (density / start) ** (t / T) for the schedule `exponential`,
    and start - (start - density) * t / T for `linear`.

    Example:
        >>> densities("exponential", 0.01, rounds=2), densities("linear", 0.5, rounds=2)
        ([0.1, 0.01], [0.75, 0.5])
    """
    steps = [t / rounds for t in range(1, rounds)]
    if schedule == "exponential":
        return [*(start * (density / start) ** step for step in steps), density]
    return [*(start - (start - density) * step for step in steps), density]


def resolve_pruner(kind: type[Pruner], spec: PrunerSpec, title: str = "") -> tuple[Pruner, PrunerSpec]:
    """Make the pruner that a spec describes.

    Args:
        kind: The class of the pruner.
        spec: Its name and some of its parameters.
        title: The pruner in messages, for example with its distribution.

    Returns:
        The pruner, and the spec with all parameters and its label.

    Raises:
        UnknownNameError: The pruner has no such parameter.
        UsageError: A value has the wrong type, or the pruner rejects it.
        PluginError: `kind` is no `Pruner` or lacks its methods, the types of its parameters cannot be read,
            or it rejects its own defaults.
    """
    title = title or f"pruner {spec.name!r}"
    if not (isinstance(kind, type) and issubclass(kind, Pruner)):
        raise PluginError(f"{title} is no synflow_bench.Pruner; make it a subclass")
    try:
        hints = get_type_hints(kind)  # annotations are text until they are read here
    except Exception as error:
        reason = f"the type of a parameter cannot be read: {one_line(error, with_type=False)}"
        raise PluginError(f"{title}: {reason}; import it outside TYPE_CHECKING") from error
    defaults = {field.name: field.default for field in fields(kind)}
    for name in spec.parameters:
        if name not in defaults:
            raise UnknownNameError(f"parameter of {title}:", name, list(defaults))
    given: dict[str, Any] = {
        name: _validate(title, name, hints[name], value) for name, value in spec.parameters.items()
    }
    pruner = _make(kind, given, title)
    if fault := kind.undefined_methods():
        raise PluginError(f"{title} {fault}")
    changed = {name: value for name, value in given.items() if value != defaults[name]}
    written = {n: value for n, value in asdict(pruner).items() if n in changed or n not in kind.newer}
    return pruner, PrunerSpec(name=spec.name, parameters=written, label=label_of(spec.name, changed))


def _make(kind: type[Pruner], given: Mapping[str, Any], title: str) -> Pruner:
    try:
        return kind(**given)
    except Exception as error:
        reason = one_line(error, with_type=False)
        if not given:
            raise PluginError(
                f"{title} rejects its defaults: {reason}; fix them, or set parameters that it accepts"
            ) from error
        if isinstance(error, UsageError | ValueError | TypeError):
            raise UsageError(f"{title}: {reason}") from error
        raise


def _validate(title: str, name: str, hint: Any, value: Scalar) -> Scalar:
    """Return the value as its field's type: an int may stand for a float, and nothing else for another."""
    try:
        valid: Scalar = TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        reason = f"{reason[:1].lower()}{reason[1:]}"
        raise UsageError(f"{title}: parameter {name}={value!r}: {reason}") from None
    return valid


def _check_parameters(kind: type[Pruner]) -> None:
    for field in fields(kind):
        where = f"parameter {field.name!r} of pruner {kind.__name__}"
        if vars(kind).get(field.name, field.default) is not field.default:
            raise PluginError(
                f"{where} is set without a type and would be lost; write `{field.name}: {field.type} = ...`"
            )
        if field.default is MISSING:
            raise PluginError(f"{where} has no default; give it one")
        if not isinstance(field.default, Scalar):
            raise PluginError(f"{where} is a {type(field.default).__name__}; use a bool, int, float or str")
