"""Tuning in suites: one setting per value, each with keys of its own, and what cannot be tuned."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.errors import SuiteError
from synflow_bench.records import key_of
from synflow_bench.suites import PrunerSpec, Revisions, Suite, expand, override, read_tuning, validate


def suite_of(**changes: Any) -> Suite:
    setting = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 3, **changes.pop("recipe", {})}}
    fields = {"name": "mine", "compressions": [10, 100], "seeds": 2, "settings": [setting], **changes}
    return validate(Suite, fields, "suite")


def cells_of(suite: Suite) -> list[Any]:
    return expand(suite, [PrunerSpec(name="random")], lambda _setting, _pruner: Revisions())


@pytest.mark.parametrize(
    "given",
    ["lr=0.001|0.01", "recipe.lr = 0.001 | 0.01", {"lr": [0.001, 0.01]}, {"recipe.lr": (0.001, 0.01)}],
)
def test_a_tuning_is_text_or_a_table(given: Any) -> None:
    assert read_tuning(given).text == "lr=0.001|0.01"
    assert suite_of(tune=given).tune == read_tuning(given)


def test_every_value_has_cells_with_keys_of_its_own_which_are_those_of_a_plain_setting() -> None:
    tuned = cells_of(suite_of(tune={"lr": [0.001, 0.01]}))
    plain = [key_of(cell) for rate in (0.001, 0.01) for cell in cells_of(suite_of(recipe={"lr": rate}))]
    assert sorted(key_of(cell) for cell in tuned) == sorted(plain)
    assert len(set(plain)) == len(plain) == 2 * 2 * (2 + 1)


def test_all_values_are_run_on_a_seed_before_the_next_one() -> None:
    setting = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 3, "lr": 0.1}}
    other = {**setting, "recipe": {"epochs": 3, "lr": 0.2}}
    cells = cells_of(suite_of(tune={"lr": [0.001, 0.01]}, settings=[setting, other]))
    runs = dict.fromkeys((cell.seed, cell.setting.recipe.lr) for cell in cells)
    assert list(runs) == [(0, 0.001), (0, 0.01), (1, 0.001), (1, 0.01)]
    assert len({key_of(cell) for cell in cells}) == len(cells), "settings that become equal are run once"
    plain = cells_of(suite_of(settings=[setting, other]))
    assert list(dict.fromkeys((cell.setting.recipe.lr, cell.seed) for cell in plain)) == [
        *((0.1, 0), (0.1, 1)),
        *((0.2, 0), (0.2, 1)),
    ]


def test_a_tuning_in_place_of_the_suites_survives_other_changes() -> None:
    suite = override(suite_of(tune={"lr": [0.001, 0.01]}), seeds=3)
    assert suite.tune == read_tuning("lr=0.001|0.01")
    assert override(suite, tune="momentum=0.5|0.9").tune == read_tuning("momentum=0.5|0.9")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("lr", "write it as lr="),
        ("lr=0.1", "less than two values"),
        ("lr=0.1|0.1", "less than two values"),
        ("epochs=1|2", "'epochs' cannot be tuned"),
        ("lr=fast|slow", "valid number"),
        ({"lr": [0.1, 0.2], "momentum": [0.5, 0.9]}, "one field is tuned at a time"),
        ({}, "one field is tuned at a time"),
        (7, "7"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(given: Any, reason: str) -> None:
    for read in (read_tuning, lambda given: suite_of(tune=given)):
        with pytest.raises(SuiteError) as error:
            read(given)
        assert reason in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tune": "lr=-1|2"}, "greater than 0"),
        ({"tune": "momentum=0.5|0.9", "recipe": {"optimizer": "adam"}}, "no effect with optimizer 'adam'"),
        ({"tune": "lr=0.1|0.2", "recipe": {"validation_fraction": 0.0}}, "holds no examples out"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_one_line(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SuiteError) as error:
        suite_of(**changes)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
