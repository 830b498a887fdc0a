"""A suite with some of its choices replaced."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.errors import SuiteError, UsageError
from synflow_bench.suites import Suite, override


def places(suite: Suite) -> list[tuple[str, str, int]]:
    """Return dataset, model and epochs of each setting; the epochs identify the recipe."""
    return [(s.dataset, s.model.name, s.recipe.epochs) for s in suite.settings]


def test_nothing_given_changes_nothing(suite: Suite) -> None:
    assert override(suite) == suite


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"datasets": ["mnist"], "models": ["conv"]}, [("mnist", "conv", 7)]),
        ({"datasets": ["digits"]}, [("digits", "fc", 5), ("digits", "conv", 7)]),
        ({"models": ["fc"]}, [("digits", "fc", 5), ("mnist", "fc", 5)]),
        ({"datasets": ["mnist"], "models": ["fc"]}, [("mnist", "fc", 5)]),
        ({"datasets": ["cifar10"]}, [("cifar10", "fc", 5), ("cifar10", "conv", 7)]),
        ({"models": ["new"]}, [("digits", "new", 5), ("mnist", "new", 7)]),
        ({"datasets": ["cifar10"], "models": ["new"]}, [("cifar10", "new", 5)]),
        (
            {"models": ["conv", "fc", "conv"]},
            [("digits", "conv", 7), ("digits", "fc", 5), ("mnist", "conv", 7), ("mnist", "fc", 5)],
        ),
    ],
)
def test_a_pair_takes_the_recipe_of_its_model_else_of_its_dataset_else_the_first(
    suite: Suite, choice: dict[str, list[str]], expected: list[tuple[str, str, int]]
) -> None:
    assert places(override(suite, **choice)) == expected  # type: ignore[arg-type]


def test_a_pair_with_two_recipes_keeps_both(suite: Suite) -> None:
    longer = override(suite, assignments=["recipe.epochs=50"]).settings
    both = suite.model_copy(update={"settings": suite.settings + longer})
    assert places(override(both, models=["fc"], datasets=["digits"])) == [
        ("digits", "fc", 5),
        ("digits", "fc", 50),
    ]


def test_a_model_takes_its_options_along_but_gives_them_to_no_other(suite: Suite) -> None:
    wide = override(suite, datasets=["digits"], models=["fc"], assignments=["model.options.width=3"])
    assert override(wide, datasets=["mnist"]).settings[0].model.options == {"width": 3}
    assert override(wide, models=["conv"]).settings[0].model.options == {}


def test_compressions_seeds_and_ablations_are_replaced(suite: Suite) -> None:
    changed = override(suite, compressions=[5, 50, 5], seeds=3, ablations=["shuffle"])
    assert changed.compressions == (5, 50)
    assert changed.seeds == (0, 1, 2)
    assert changed.ablations == ("shuffle",)
    assert changed.settings == suite.settings


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [(3, (0, 1, 2)), ([5, 3, 5], (5, 3)), ((7,), (7,)), (range(2), (0, 1)), (None, (0, 1)), ((), (0, 1))],
)
def test_seeds_are_a_number_or_a_list(suite: Suite, seeds: Any, expected: tuple[int, ...]) -> None:
    assert override(suite, seeds=seeds).seeds == expected


def test_assignments_change_every_setting(suite: Suite) -> None:
    changed = override(
        suite,
        assignments=[
            "recipe.lr = 0.5",
            "pruning.scope=local",
            "protocol.pre_epochs=2",
            "recipe.precision=bf16",
        ],
    )
    for setting in changed.settings:
        assert (setting.recipe.lr, setting.recipe.precision) == (0.5, "bf16")
        assert (setting.pruning.scope, setting.protocol.pre_epochs) == ("local", 2)


def test_a_schedule_is_replaced_with_what_belongs_to_it(suite: Suite) -> None:
    stepped = override(suite, assignments=["recipe.schedule=step", "recipe.milestones=[2, 4]"])
    assert stepped.settings[0].recipe.milestones == (2, 4)
    cosine = override(stepped, assignments=["recipe.schedule=cosine", "recipe.milestones=[]"])
    assert cosine.settings[0].recipe.schedule == "cosine"
    with pytest.raises(SuiteError, match="milestones has no effect with schedule 'cosine'"):
        override(stepped, assignments=["recipe.schedule=cosine"])


@pytest.mark.parametrize(
    ("choice", "facts"),
    [
        (
            {"compressions": [0.5]},
            ["compressions[0]: ", "given 0.5"],
        ),
        ({"compressions": [float("nan")]}, ["compressions[0]: "]),
        ({"seeds": 0}, ["seeds: "]),
        ({"seeds": [0, -1]}, ["seeds[1]: "]),
        ({"ablations": ["shufle"]}, ["ablations[0]: ", "'shufle'"]),
        (
            {"assignments": ["recipe.momentum=0.5"]},
            ["settings[0].recipe: momentum has no effect", "settings[1]"],
        ),
        ({"assignments": ["recipe.lrr=1"]}, ["settings[0].recipe.lrr: "]),
        ({"assignments": ["recipe.epochs=many"]}, ["settings[0].recipe.epochs: ", "(given 'many')"]),
        (
            {"compressions": [0], "assignments": ["recipe.lr=-1", "pruning.scope=layer"]},
            [
                "compressions[0]: ",
                "settings[0].recipe.lr: ",
                "settings[1].recipe.lr: ",
                "settings[1].pruning.scope: ",
            ],
        ),
    ],
)
def test_an_invalid_choice_is_an_error_with_its_place(
    suite: Suite, choice: dict[str, Any], facts: list[str]
) -> None:
    with pytest.raises(SuiteError) as error:
        override(suite, **choice)
    assert str(error.value).startswith("suite 'two' as changed: ")
    for fact in facts:
        assert fact in str(error.value)


@pytest.mark.parametrize(
    ("assignment", "fact"),
    [
        ("recipe.lr", "'recipe.lr'"),
        ("=1", "'=1'"),
        ("dataset.name=1", "'dataset.name'"),
    ],
)
def test_an_assignment_that_cannot_be_read_is_an_error(suite: Suite, assignment: str, fact: str) -> None:
    with pytest.raises(UsageError) as error:
        override(suite, assignments=[assignment])
    assert fact in str(error.value)


def test_the_suite_itself_stays_as_it_was(suite: Suite) -> None:
    before = suite.model_dump()
    override(suite, assignments=["recipe.lr=0.5"], models=["fc"], seeds=1)
    assert suite.model_dump() == before


@pytest.mark.parametrize(
    ("assignment", "meant"),
    [
        ("recipe.lrr=0.1", "lr"),
        ("recipe.epoch=1", "epochs"),
        ("pruning.example=random", "examples"),
        ("protocl.name=multishot", "protocol"),
        ("protocol.pre_epoch=1", "pre_epochs"),
    ],
)
def test_a_field_that_does_not_exist_is_answered_with_the_nearest(
    suite: Suite, assignment: str, meant: str
) -> None:
    with pytest.raises(SuiteError, match=f"no such field; did you mean '{meant}'") as error:
        override(suite, assignments=[assignment])
    assert "\n" not in str(error.value)
