"""The contract of a pruner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, FrozenInstanceError, asdict, dataclass, fields
from typing import Any, ClassVar, dataclass_transform, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from synflow_bench.errors import PluginError, UnknownNameError, UsageError
from synflow_bench.pruning._masks import Masks
from synflow_bench.pruning._problem import Problem, Score
from synflow_bench.pruning._schedules import Schedule, densities
from synflow_bench.suites import PrunerSpec, Scalar, label_of


class _Frozen:
    """No attribute can be set, whichever class declared it."""

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete field {name!r}")


@dataclass_transform(frozen_default=True, kw_only_default=True)
@dataclass(frozen=True, kw_only=True)
class Pruner(_Frozen):
    """A way to choose the weights to keep. Subclasses become frozen dataclasses, decorated or not.

    Their fields are their parameters; each has a type and a default, such as `rounds: int = 10`; one that has
    not is a `PluginError`. Write `score`, and the harness makes masks of exact density from it in `rounds`
    rounds; or override `prune` to build the masks directly. `needs_data = False` promises that no batch is
    asked for. Raise `revision` when results change: it is part of every cell's key.
    """

    needs_data: ClassVar[bool] = True
    revision: ClassVar[int] = 1
    rounds: int = 1
    schedule: Schedule = "exponential"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        dataclass(frozen=True, kw_only=True)(cls)
        # Those of `_Frozen` serve as well, and an author's own decorator refuses to replace any.
        del cls.__setattr__, cls.__delattr__
        _check_parameters(cls)

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds must be at least 1, not {self.rounds}")
        if self.schedule not in get_args(Schedule):
            raise UsageError(f"unknown schedule {self.schedule!r}; known: {', '.join(get_args(Schedule))}")

    def score(self, problem: Problem) -> Mapping[str, Tensor]:  # noqa: ARG002 - for those that override it
        """A score for every weight of `problem.parameters`, of its shape; higher is kept."""
        raise PluginError(f"pruner {type(self).__name__} defines neither score() nor prune()")

    def prune(self, problem: Problem, density: float) -> Masks:
        """The weights to keep: `rounds` rounds of scoring and removing what scores least."""
        return self.in_rounds(problem, density, self.score)

    def in_rounds(self, problem: Problem, density: float, score: Score) -> Masks:
        """`rounds` rounds of `score`: for a `prune` that prepares the problem once for all of them."""
        masks = problem.masks
        targets = densities(self.schedule, density, self.rounds, masks.density)
        for round, target in enumerate(targets, start=1):
            problem, masks = problem.at(masks, density=target, round=round).keep(score)
        return masks


def resolve_pruner(kind: type[Pruner], spec: PrunerSpec, title: str = "") -> tuple[Pruner, PrunerSpec]:
    """Make the pruner that `spec` asks for, and the spec with all parameters and its label.

    Messages name it by `title`, which may say where it is from. Raises `UnknownNameError` for a parameter
    that the pruner does not have, `UsageError` for a value of the wrong type or one that the pruner refuses,
    and `PluginError` for a `kind` that is no `Pruner`, that has types which cannot be read, or that refuses
    its defaults.
    """
    title = title or f"pruner {spec.name!r}"
    if not (isinstance(kind, type) and issubclass(kind, Pruner)):
        raise PluginError(f"{title} is no synflow_bench.Pruner; make it a subclass")
    hints = _types(kind, title)
    names = [field.name for field in fields(kind)]
    for name in spec.parameters:
        if name not in names:
            raise UnknownNameError(f"parameter of {title}:", name, names)
    given: dict[str, Any] = {
        name: _coerce(title, name, hints[name], value) for name, value in spec.parameters.items()
    }
    pruner, defaults = _make(kind, given, title), {field.name: field.default for field in fields(kind)}
    changed = {name: value for name, value in given.items() if value != defaults[name]}
    resolved = PrunerSpec(name=spec.name, parameters=asdict(pruner), label=label_of(spec.name, changed))
    return pruner, resolved


def _types(kind: type[Pruner], title: str) -> dict[str, Any]:
    """The types of the parameters; annotations are text until they are read here."""
    try:
        return get_type_hints(kind)
    except Exception as error:
        told = f"the type of a parameter cannot be read: {_told(error)}"
        raise PluginError(f"{title}: {told}; import it outside TYPE_CHECKING") from error


def _make(kind: type[Pruner], given: Mapping[str, Any], title: str) -> Pruner:
    try:
        return kind(**given)
    except Exception as error:
        if not given:
            told = f"{title} refuses its defaults: {_told(error)}"
            raise PluginError(f"{told}; mend them, or set parameters that it takes") from error
        if isinstance(error, UsageError | ValueError | TypeError):
            raise UsageError(f"{title}: {_told(error)}") from error
        raise


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


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


def _coerce(title: str, name: str, hint: Any, value: Scalar) -> Scalar:
    """The value as its field has it: an int may stand for a float, and nothing else for anything else."""
    try:
        coerced: Scalar = TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        reason = f"{reason[:1].lower()}{reason[1:]}"
        raise UsageError(f"{title}: parameter {name}={value!r}: {reason}") from None
    return coerced
