"""Ids of settings and keys of cells: equal for equal cells however they were written, else different."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.records import key_of
from synflow_bench.suites import Cell, PruningOptions, Recipe, Revisions, Setting, Singleshot

RECIPE: dict[str, Any] = {
    "epochs": 6,
    "optimizer": "rmsprop",
    "lr": 0.2,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "schedule": "cosine",
    "milestones": [1],
    "gamma": 0.5,
    "warmup_epochs": 1,
    "batch_size": 64,
    "label_smoothing": 0.1,
    "gradient_clip": 1.0,
    "augment": False,
    "validation_fraction": 0.2,
    "precision": "bf16",
    "channels_last": True,
    "compile": "yes",
}
NEEDS = {
    "milestones": {"schedule": "step"},
    "gamma": {"schedule": "step", "milestones": [1]},
    "group_score": {"granularity": "kernel"},
}
"""What else a field needs to have an effect."""
PRUNING: dict[str, Any] = {
    "scope": "local",
    "prune_bias": True,
    "prune_batchnorm": True,
    "prune_residual": True,
    "prune_embedding": True,
    "dense_classifier": True,
    "only": ["fc1"],
    "skip": ["fc2"],
    "examples_per_class": 1,
    "examples": "random",
    "biases": "zero",
    "granularity": "channel",
    "group_score": "l2",
}
CHANGES: list[dict[str, Any]] = [
    {"seed": 1},
    {"compression": 10.5},
    {"ablation": "shuffle"},
    {"pruner": "grasp"},
    {"pruner": "snip[rounds=2]"},
    *({"revisions": {part: 2}} for part in Revisions.model_fields),
    {"setting": {"dataset": "mnist"}},
    {"setting": {"model": "conv"}},
    {"setting": {"model": {"name": "fc", "options": {"width": 3}}}},
    {"setting": {"root_seed": 1}},
    {"setting": {"protocol": {"pre_epochs": 1}}},
    *({"setting": {"pruning": {name: value, **NEEDS.get(name, {})}}} for name, value in PRUNING.items()),
    *({"setting": {"recipe": {name: value, **NEEDS.get(name, {})}}} for name, value in RECIPE.items()),
]


def test_every_field_is_among_the_changes() -> None:
    assert RECIPE.keys() == Recipe.model_fields.keys()
    assert PRUNING.keys() == PruningOptions.model_fields.keys()
    assert Singleshot.model_fields.keys() == {"name", "pre_epochs"}
    changed = {name for change in CHANGES for name in change}
    assert changed == Cell.model_fields.keys()
    assert {name for change in CHANGES for name in change.get("setting", {})} == Setting.model_fields.keys()


def test_a_change_of_anything_that_matters_changes_the_key(cell: Cell) -> None:
    keys = {key_of(changed(cell, change)) for change in CHANGES} | {key_of(cell)}
    assert len(keys) == len(CHANGES) + 1


def test_only_a_change_of_the_setting_changes_its_id(cell: Cell) -> None:
    of_settings = [change for change in CHANGES if "setting" in change]
    ids = {changed(cell, change).setting.id for change in CHANGES}
    assert len(ids | {cell.setting.id}) == len(of_settings) + 1


@pytest.mark.parametrize("change", CHANGES)
def test_the_order_of_fields_does_not_matter(cell: Cell, change: dict[str, Any]) -> None:
    one = changed(cell, change)
    other = Cell.model_validate(backwards(one.model_dump(mode="json")))
    assert other.setting.id == one.setting.id
    assert key_of(other) == key_of(one)


def test_the_label_of_a_pruner_does_not_matter(cell: Cell) -> None:
    labelled = cell.model_copy(update={"pruner": cell.pruner.model_copy(update={"label": "My SNIP"})})
    assert key_of(labelled) == key_of(cell)


def test_keys_stay_as_they_are(cell: Cell) -> None:
    """Records are found by their keys: a change of this one leaves all that was recorded behind."""
    assert (cell.setting.id, key_of(cell)) == ("d6aaa306", "7b5c70d541874d88")


def test_a_changed_copy_of_a_setting_has_an_id_of_its_own(cell: Cell) -> None:
    setting = cell.setting
    before = setting.id
    copy = setting.model_copy(update={"root_seed": 1})
    assert copy.id == Setting.model_validate(copy.model_dump()).id != before
    assert setting.id == before


def test_an_id_that_was_asked_for_changes_neither_equality_nor_what_is_written(cell: Cell) -> None:
    fresh = Setting.model_validate(cell.setting.model_dump())
    assert cell.setting.id
    assert cell.setting == fresh
    assert cell.setting.model_dump() == fresh.model_dump()


def changed(cell: Cell, change: dict[str, Any]) -> Cell:
    data = cell.model_dump(mode="json", exclude_unset=True)
    return Cell.model_validate(merged(data, change))


def merged(data: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = {
        key: merged(data[key], change[key])
        for key in change
        if isinstance(data.get(key), dict) and isinstance(change[key], dict)
    }
    return {**data, **change, **both}


def backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    return value


@pytest.mark.parametrize("change", CHANGES)
def test_an_identity_holds_every_field_but_labels(cell: Cell, change: dict[str, Any]) -> None:
    other = changed(cell, change)
    fields = other.model_dump(mode="json", exclude={"setting": True, "pruner": {"label"}})
    assert other.identity() == {**fields, "setting": other.setting.digest}


def test_a_copy_has_an_identity_of_its_own(cell: Cell) -> None:
    before = cell.pruner.identity, cell.revisions.identity
    pruner = cell.pruner.model_copy(update={"parameters": {"rounds": 7}})
    revisions = cell.revisions.model_copy(update={"model": 9})
    assert pruner.identity == {"name": cell.pruner.name, "parameters": {"rounds": 7}}
    assert revisions.identity == {"pruner": 1, "model": 9, "dataset": 1}
    assert (cell.pruner.identity, cell.revisions.identity) == before
