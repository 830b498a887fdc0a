"""The contract of a pruner, its parameters and its schedules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, fields
from itertools import pairwise
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from synflow_bench.errors import PluginError, UnknownNameError, UsageError
from synflow_bench.pruning import (
    MaskUpdate,
    Problem,
    Pruner,
    Schedule,
    TrainingPruner,
    densities,
    resolve_pruner,
    run_pruner,
)
from synflow_bench.suites import PrunerSpec


class Tuned(Pruner):
    """A pruner with parameters of every kind, and no decorator."""

    needs_data: ClassVar[bool] = False
    revision: ClassVar[int] = 3
    rounds: int = 10
    power: float = 2.0
    signed: bool = False
    norm: str = "l2"

    def score(self, problem: Problem) -> dict[str, Tensor]:
        return {name: p.detach().abs() ** self.power for name, p in problem.parameters.items()}


def resolved(text: str, kind: Any = Tuned) -> tuple[Pruner, PrunerSpec]:
    return resolve_pruner(kind, PrunerSpec.model_validate(text))


def test_an_author_may_write_the_dataclass_decorator_too() -> None:
    @dataclass(frozen=True)
    class Decorated(Pruner):
        rounds: int = 7
        strength: float = 0.5

    pruner = Decorated(strength=2)
    assert (pruner.rounds, pruner.strength) == (7, 2)
    assert pruner == Decorated(strength=2)
    assert hash(pruner) == hash(Decorated(strength=2))
    for name in ("rounds", "strength", "another"):
        with pytest.raises(FrozenInstanceError):
            setattr(pruner, name, 1)


def test_a_subclass_is_a_frozen_dataclass_whose_defaults_hold() -> None:
    assert [field.name for field in fields(Tuned)] == ["rounds", "schedule", "power", "signed", "norm"]
    pruner = Tuned()
    assert (pruner.rounds, pruner.schedule, pruner.power, pruner.signed) == (10, "exponential", 2.0, False)
    assert Tuned(power=3.0) == Tuned(power=3.0) != pruner
    with pytest.raises(FrozenInstanceError):
        pruner.power = 3.0  # type: ignore[misc]


def test_what_is_of_the_class_is_no_parameter() -> None:
    assert (Tuned.needs_data, Tuned.revision) == (False, 3)
    with pytest.raises(UnknownNameError):
        resolved("tuned[needs_data=true]")


def test_a_subclass_of_a_subclass_changes_a_default_and_adds_a_parameter() -> None:
    class Finer(Tuned):
        rounds: int = 50
        grain: float = 0.5

    assert (Finer().rounds, Finer().grain, Finer().power, Finer.revision) == (50, 0.5, 2.0, 3)
    assert Tuned().rounds == 10


def test_resolution_sets_parameters_and_writes_all_of_them_down() -> None:
    pruner, spec = resolved("tuned[power=3,signed=true,rounds=20]")
    assert pruner == Tuned(power=3.0, signed=True, rounds=20)
    assert spec.parameters == {
        "rounds": 20,
        "schedule": "exponential",
        "power": 3.0,
        "signed": True,
        "norm": "l2",
    }
    assert spec.label == "tuned[power=3.0,rounds=20,signed=true]"


class Extended(Tuned):
    """A pruner that was recorded before it had its last parameter."""

    newer: ClassVar[frozenset[str]] = frozenset({"centered"})
    centered: bool = False


def test_a_newer_parameter_is_written_down_only_where_it_changes_something() -> None:
    before = resolved("tuned")[1]
    assert resolved("tuned", Extended)[1] == before
    assert resolved("tuned[centered=false]", Extended)[1] == before
    changed = resolved("tuned[centered=true]", Extended)[1]
    assert changed.parameters == {**before.parameters, "centered": True}
    assert changed.label == "tuned[centered=true]"


@pytest.mark.parametrize(
    "text", ["tuned", "tuned[rounds=10]", "tuned[norm=l2,power=2]", "tuned[signed=false]"]
)
def test_a_label_names_only_what_differs_from_the_defaults(text: str) -> None:
    pruner, spec = resolved(text)
    assert spec.label == "tuned"
    assert pruner == Tuned()


def test_a_label_reads_back_as_the_same_pruner() -> None:
    pruner, spec = resolved("tuned[norm=l1,schedule=linear,power=0.5]")
    assert resolved(spec.label) == (pruner, spec)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tuned[rounds=ten]", "rounds='ten'"),
        ("tuned[rounds=1.5]", "rounds=1.5"),
        ("tuned[power=much]", "power='much'"),
        ("tuned[signed=perhaps]", "signed='perhaps'"),
        ("tuned[schedule=cubic]", "schedule='cubic'"),
        ("tuned[rounds=0]", "at least 1, not 0"),
    ],
)
def test_a_mistyped_value_is_one_line_that_names_it(text: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        resolved(text)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_parameter_suggests_a_known_one() -> None:
    with pytest.raises(UnknownNameError, match=r"'round'.*'rounds'"):
        resolved("tuned[round=3]")


def test_an_unknown_schedule_is_an_error_in_code_too() -> None:
    with pytest.raises(UsageError, match="'cubic'"):
        Tuned(schedule="cubic")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [object, 3, "text", Tuned()], ids=["class", "number", "text", "instance"])
def test_what_is_no_pruner_class_is_a_plugin_error(kind: object) -> None:
    with pytest.raises(PluginError, match=r"'tuned' is no synflow_bench.Pruner"):
        resolved("tuned", kind)


def test_a_type_that_only_the_type_checker_imports_is_a_plugin_error() -> None:
    class Unread(Tuned):
        norm: Absent = "l2"  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(PluginError, match=r"'unread'.*'Absent'.*TYPE_CHECKING"):
        resolved("unread", Unread)


@pytest.mark.parametrize("error", [ValueError, UsageError, KeyError])
def test_a_pruner_that_rejects_its_defaults_is_a_plugin_error_and_may_be_given_others(
    error: type[Exception],
) -> None:
    class Picky(Tuned):
        share: float = 0.0

        def __post_init__(self) -> None:
            if self.share <= 0:
                raise error("share too small")

    with pytest.raises(PluginError, match=r"'picky' rejects its defaults: .*share too small"):
        resolved("picky", Picky)
    with pytest.raises(KeyError if error is KeyError else UsageError, match="share too small"):
        resolved("picky[share=-1.0]", Picky)
    pruner, spec = resolved("picky[share=0.5]", Picky)
    assert (pruner, spec.label) == (Picky(share=0.5), "picky[share=0.5]")


def test_a_parameter_without_default_is_an_error_in_its_class() -> None:
    with pytest.raises(PluginError, match="'alpha' of pruner Bare has no default"):

        class Bare(Pruner):
            alpha: float


def test_a_default_without_its_type_is_an_error() -> None:
    message = r"parameter 'rounds' of pruner Untyped is set without a type .* write `rounds: int = \.\.\.`"
    with pytest.raises(PluginError, match=message):

        class Untyped(Pruner):
            rounds = 10


def test_a_parameter_that_no_suite_could_set_is_an_error() -> None:
    with pytest.raises(PluginError, match="'widths' of pruner Wide is a tuple"):

        class Wide(Pruner):
            widths: tuple[int, ...] = (1, 2)


def test_a_class_without_the_methods_of_a_pruner_cannot_be_resolved() -> None:
    class Misspelled(Pruner):
        share: float = 0.5  # no method, and not the closest name

        def scores(self, problem: Problem) -> None: ...

    class Unfinished(TrainingPruner):
        score = Tuned.score

    class Mixed(Unfinished):
        def updates(self, update: MaskUpdate) -> None: ...

    for kind, facts in {
        Misspelled: r"neither score\(\) nor prune\(\); did you mean 'score' by 'scores'",
        Unfinished: r"no update\(\); define it",
        Mixed: r"no update\(\); did you mean 'update' by 'updates'",
    }.items():
        with pytest.raises(PluginError, match=rf"'mine' defines {facts}"):
            resolved("mine", kind)


def test_a_pruner_without_score_and_prune_is_an_error(net: nn.Module, pose: Callable[..., Problem]) -> None:
    class Silent(Pruner):
        pass

    with pytest.raises(PluginError, match=r"Silent .*score\(\)"):
        run_pruner(Silent(), pose(net), 0.5)


def test_parameters_reach_the_scores(net: nn.Module, pose: Callable[..., Problem]) -> None:
    assert (
        run_pruner(Tuned(power=-1.0, rounds=1), pose(net), 0.5).masks
        == run_pruner(Tuned(rounds=1), pose(net, invert=True), 0.5).masks
    )


RHO = st.floats(1e-7, 1.0)
ROUNDS = st.integers(1, 200)
SCHEDULES: list[Schedule] = ["exponential", "linear"]


@given(rho=RHO, rounds=ROUNDS)
def test_exponential_is_rho_to_the_share_of_rounds(rho: float, rounds: int) -> None:
    falling = densities("exponential", rho, rounds)
    assert falling == pytest.approx([rho ** (t / rounds) for t in range(1, rounds + 1)])


@given(rho=RHO, rounds=ROUNDS)
def test_linear_falls_by_equal_steps(rho: float, rounds: int) -> None:
    falling = densities("linear", rho, rounds)
    assert falling == pytest.approx([1 - (1 - rho) * t / rounds for t in range(1, rounds + 1)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@given(rho=RHO, rounds=ROUNDS)
def test_every_schedule_falls_and_ends_exactly(rho: float, rounds: int, schedule: Schedule) -> None:
    falling = densities(schedule, rho, rounds)
    assert len(falling) == rounds
    assert falling[-1] == rho
    assert all(later <= earlier + 1e-15 for earlier, later in zip([1.0, *falling], falling, strict=False))


def test_one_round_goes_straight_to_the_density() -> None:
    assert densities("exponential", 0.01, 1) == densities("linear", 0.01, 1) == [0.01]


@given(rho=RHO, rounds=ROUNDS, levels=st.integers(1, 6))
def test_exponential_rounds_of_exponential_levels_fall_as_all_rounds_together(
    rho: float, rounds: int, levels: int
) -> None:
    ends = [1.0, *densities("exponential", rho, levels)]
    falling = [
        value for start, end in pairwise(ends) for value in densities("exponential", end, rounds, start)
    ]
    assert falling == pytest.approx(densities("exponential", rho, levels * rounds))


@given(start=st.floats(0.1, 1.0), share=st.floats(0.01, 1.0), rounds=ROUNDS)
def test_linear_rounds_fall_by_equal_steps_from_where_they_start(
    start: float, share: float, rounds: int
) -> None:
    falling = densities("linear", start * share, rounds, start)
    step = start * (1 - share) / rounds
    assert falling == pytest.approx([start - step * t for t in range(1, rounds + 1)])
