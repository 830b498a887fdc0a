"""Types in suites: a wrong one is an error, and numbers of other libraries are numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synflow_bench.errors import SuiteError
from synflow_bench.suites import PrunerSpec, Setting, Suite, load_suite, validate

SETTING = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 1}}


def suite(**fields: Any) -> Suite:
    return validate(
        Suite, {"name": "x", "compressions": [2], "seeds": 1, "settings": [SETTING], **fields}, "x"
    )


def setting(part: str = "", **fields: Any) -> Setting:
    changed = {part: {**SETTING.get(part, {}), **fields}} if part else fields  # type: ignore[dict-item]
    return validate(Setting, {**SETTING, **changed}, "setting")


@pytest.mark.parametrize("value", [True, "1", 1.0, None, [1]])
@pytest.mark.parametrize("field", ["epochs", "batch_size", "warmup_epochs"])
def test_a_whole_number_is_nothing_else(field: str, value: Any) -> None:
    with pytest.raises(SuiteError, match=field):
        setting("recipe", **{field: value})


@pytest.mark.parametrize("value", [True, False, "0.1", None, [0.1], float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["lr", "weight_decay", "validation_fraction", "label_smoothing"])
def test_a_number_is_finite_and_nothing_else(field: str, value: Any) -> None:
    with pytest.raises(SuiteError, match=field):
        setting("recipe", **{field: value})


@pytest.mark.parametrize("value", [1, 0, "true", "yes", None])
@pytest.mark.parametrize(("part", "field"), [("recipe", "augment"), ("pruning", "prune_bias")])
def test_a_flag_is_true_or_false(part: str, field: str, value: Any) -> None:
    with pytest.raises(SuiteError, match=field):
        setting(part, **{field: value})


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": [True]},
        {"seeds": True},
        {"seeds": "3"},
        {"seeds": ["0"]},
        {"seeds": [0.0]},
        {"compressions": [True]},
        {"compressions": ["10"]},
        {"compressions": "10"},
        {"name": 7},
        {"settings": [{**SETTING, "root_seed": "1"}]},
        {"settings": [{**SETTING, "dataset": 7}]},
        {"settings": [{**SETTING, "protocol": {"name": "multishot", "levels": True}}]},
        {"settings": [{**SETTING, "model": {"name": "fc", "options": {"width": [1]}}}]},
    ],
)
def test_a_wrong_type_is_one_line(fields: dict[str, Any]) -> None:
    with pytest.raises(SuiteError) as error:
        suite(**fields)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [True, False, "0.9"])
def test_a_sparsity_is_a_number(value: Any) -> None:
    with pytest.raises(SuiteError, match="sparsit"):
        validate(Suite, {"name": "x", "sparsities": [value], "seeds": 1, "settings": [SETTING]}, "x")


def test_numbers_of_numpy_are_numbers() -> None:
    found = suite(compressions=np.array([2.0, 4.0]), seeds=np.int64(2))
    assert (found.compressions, found.seeds) == ((2.0, 4.0), (0, 1))
    recipe = setting("recipe", epochs=np.int32(3), lr=np.float32(0.5)).recipe
    assert (recipe.epochs, recipe.lr, type(recipe.epochs)) == (3, 0.5, int)


def test_a_whole_number_stands_for_a_number() -> None:
    assert setting("recipe", lr=1).id == setting("recipe", lr=1.0).id


@pytest.mark.parametrize("text", ["grasp[temperature=nan]", "grasp[temperature=inf]"])
def test_a_parameter_is_finite(text: str) -> None:
    with pytest.raises(SuiteError, match="finite"):
        validate(PrunerSpec, text, "pruner")


def test_a_byte_order_mark_is_no_part_of_a_suite(tmp_path: Path) -> None:
    text = (
        'compressions = [2]\nseeds = 1\n[[settings]]\ndataset = "digits"\nmodel = "fc"\nrecipe.epochs = 1\n'
    )
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8-sig")
    assert load_suite(tmp_path / "mine.toml").name == "mine"


def test_a_dataset_with_options_is_text_or_a_table_in_any_order() -> None:
    options = {"size": 32, "path": "my photos, all"}
    found = setting(dataset={"name": "image-folder", "options": options})
    assert found.dataset == 'image-folder[path="my photos\\u002c all",size=32]'
    assert found.dataset_name == "image-folder"
    assert setting(dataset="image-folder[b=1,a=2]").id == setting(dataset="image-folder[ a = 2 , b = 1 ]").id
    assert setting(dataset="digits[]").id == setting().id


def test_the_label_of_a_dataset_is_a_plain_name() -> None:
    assert setting().dataset_label == "digits"
    assert setting(dataset="image-folder[fingerprint=0,name=flowers]").dataset_label == "flowers"
    unnamed = setting(dataset="image-folder[fingerprint=0]").dataset_label
    assert unnamed.startswith("image-folder-")
    assert setting(dataset="image-folder[name=../up]").dataset_label.startswith("image-folder-")


@pytest.mark.parametrize("text", ["a[b", "a[b]", "a[b=1,b=2]", "A B[c=1]", "a[b=]", "a[b=1]c", ""])
def test_a_dataset_that_cannot_be_read_is_an_error(text: str) -> None:
    with pytest.raises(SuiteError):
        setting(dataset=text)
