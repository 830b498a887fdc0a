"""Settings: valid recipes and protocols, with all problems reported together, and what they change."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from synflow_bench.errors import SuiteError
from synflow_bench.suites import (
    Finetune,
    Multishot,
    PrunerRow,
    PruningOptions,
    Recipe,
    Setting,
    Singleshot,
    Suite,
    override,
    validate,
)

STEP = {"schedule": "step", "milestones": [2, 4]}
PLAIN: dict[str, Any] = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 5}}


@pytest.mark.parametrize(
    ("fields", "fact"),
    [
        ({"optimizer": "adam", "momentum": 0.5}, "momentum has no effect with optimizer 'adam'"),
        ({"optimizer": "sgd", "momentum": 0.5}, "momentum has no effect with optimizer 'sgd'"),
        ({"milestones": [2]}, "milestones has no effect with schedule 'constant'"),
        ({"schedule": "cosine", "gamma": 0.5}, "gamma has no effect with schedule 'cosine'"),
        ({"schedule": "step"}, "'step' needs milestones"),
        ({"schedule": "step", "milestones": [4, 2]}, "[4, 2]"),
        ({"schedule": "step", "milestones": [2, 2]}, "[2, 2]"),
        ({"warmup_epochs": 6}, "warmup_epochs 6 exceeds epochs 5"),
        ({"lr": 0}, "lr: input should be greater than 0"),
        ({"lr": float("nan")}, "given nan"),
        ({"optimizer": "adma"}, "given 'adma'"),
        ({"learning_rate": 1}, "learning_rate: "),
        ({"compile": True}, "given True"),
        ({"epochs": 2.5}, "epochs: "),
    ],
)
def test_an_invalid_recipe_is_an_error_that_names_the_field(fields: dict[str, Any], fact: str) -> None:
    with pytest.raises(SuiteError) as error:
        validate(Recipe, {"epochs": 5, **fields}, "recipe")
    assert fact in str(error.value)


def test_all_problems_of_a_recipe_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        Recipe(epochs=1, optimizer="adam", momentum=0.5, gamma=0.5, milestones=(1,), warmup_epochs=2)
    for word in ("momentum has", "gamma has", "milestones has", "warmup_epochs 2"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [{}, STEP, {"optimizer": "adam"}, {"optimizer": "momentum", "momentum": 0.5}, {"compile": "cuda-graphs"}],
)
def test_a_recipe_is_read_back_as_it_was_written(fields: dict[str, Any]) -> None:
    recipe = Recipe.model_validate({"epochs": 5, **fields})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_default_that_is_written_out_is_allowed() -> None:
    assert Recipe(epochs=1, optimizer="adam", momentum=0.9) == Recipe(epochs=1, optimizer="adam")


def test_a_recipe_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(epochs=1).epochs = 2  # type: ignore[misc]


def setting(protocol: Any) -> Setting:
    return validate(Setting, {**PLAIN, "protocol": protocol}, "setting")


def multishot(**fields: Any) -> dict[str, Any]:
    return {"name": "multishot", "levels": 3, **fields}


def test_a_table_without_a_name_is_singleshot() -> None:
    assert setting({}).protocol == setting({"name": "singleshot"}).protocol == Singleshot()
    assert setting({"pre_epochs": 2}).protocol == Singleshot(pre_epochs=2)


@pytest.mark.parametrize(
    ("rewind", "read", "step"),
    [
        ("init", "init", 0),
        (0, "init", 0),
        ("0", "init", 0),
        ("lr", "lr", None),
        (500, 500, 500),
        ("500", 500, 500),
    ],
)
def test_a_rewinding_is_to_the_start_to_a_step_or_of_the_learning_rate(
    rewind: Any, read: Any, step: int | None
) -> None:
    protocol = setting(multishot(rewind=rewind)).protocol
    assert isinstance(protocol, Multishot)
    assert (protocol.rewind, protocol.step) == (read, step)
    assert setting(multishot(rewind=rewind)).id == setting(multishot(rewind=read)).id


@pytest.mark.parametrize(
    "protocol", [{"pre_epochs": 2}, multishot(), multishot(rewind=7), multishot(rewind="lr", pre_epochs=1)]
)
def test_a_protocol_is_read_back_as_it_was_written(protocol: Any) -> None:
    given = setting(protocol)
    assert Setting.model_validate_json(given.model_dump_json()) == given
    assert Setting.model_validate(given.model_dump()).id == given.id


def test_every_field_is_part_of_the_id() -> None:
    protocols = [
        {},
        multishot(),
        multishot(levels=4),
        multishot(rewind="lr"),
        multishot(rewind=1),
        multishot(rewind=2),
        multishot(pre_epochs=1),
    ]
    assert Multishot.model_fields.keys() == {"name", "levels", "rewind", "pre_epochs"}
    assert len({setting(protocol).id for protocol in protocols}) == len(protocols)


def test_the_title_names_a_protocol_that_is_not_the_default() -> None:
    assert setting({}).title == "digits / fc"
    assert setting(multishot()).title == "digits / fc / multishot"


@pytest.mark.parametrize(
    ("protocol", "epochs"),
    [({}, 5), ({"pre_epochs": 2}, 7), (multishot(), 20), (multishot(levels=2, pre_epochs=1), 7)],
)
def test_the_epochs_of_all_trainings_are_counted(protocol: Any, epochs: int) -> None:
    assert setting(protocol).total_epochs == epochs


@pytest.mark.parametrize(
    ("protocol", "fact"),
    [
        ({"name": "multishot"}, "'multishot' needs levels"),
        (multishot(levels=0), "levels: input should be greater than or equal to 1"),
        (multishot(pre_epochs=0), "pre_epochs: input should be greater than or equal to 1"),
        (multishot(rewind="end"), "not 'end'"),
        (multishot(rewind=-1), "not -1"),
        (multishot(rewind=1.5), "not 1.5"),
        (multishot(rewind=True), "not True"),
        (multishot(round=3), "round"),
        ({"levels": 3}, "levels: no effect"),
        ({"name": "singleshot", "levels": 3, "rewind": "lr"}, "levels, rewind: no effect"),
        ({"name": "mutlishot"}, "'singleshot', 'multishot' or 'finetune' (given 'mutlishot')"),
        ({"name": "finetune"}, "'finetune' needs epochs"),
        ({"name": "finetune", "epochs": 2, "lr": 0}, "lr: input should be greater than 0"),
        ({"name": "finetune", "epochs": 2, "levels": 3}, "levels: no such field"),
        ({"epochs": 2}, "epochs: no such field; did you mean 'pre_epochs'?"),
        (7, "a table"),
    ],
)
def test_an_invalid_protocol_is_one_line(protocol: Any, fact: str) -> None:
    with pytest.raises(SuiteError) as error:
        setting(protocol)
    assert fact in str(error.value)
    assert "\n" not in str(error.value)


def test_levels_without_an_epoch_are_an_error() -> None:
    untrained = {**PLAIN, "recipe": {"epochs": 0}}
    with pytest.raises(SuiteError, match="'multishot' trains in every level"):
        validate(Setting, {**untrained, "protocol": multishot()}, "setting")
    assert validate(Setting, {**untrained, "protocol": multishot(pre_epochs=2)}, "setting").total_epochs == 6


@pytest.mark.parametrize(("levels", "rewind", "fits"), [(2, "lr", False), (1, "lr", True), (2, "init", True)])
def test_masks_are_shuffled_only_if_weights_are_left(
    suite: Suite, levels: int, rewind: str, fits: bool
) -> None:
    protocol = {"name": "multishot", "levels": levels, "rewind": rewind}
    if fits:
        assert override(suite, ablations=["shuffle"], protocol=protocol).ablations == ("shuffle",)
    else:
        with pytest.raises(SuiteError, match="'shuffle'"):
            override(suite, ablations=["none", "shuffle"], protocol=protocol)


def test_masks_are_shuffled_only_if_the_rows_of_the_run_leave_weights(suite: Suite) -> None:
    one, several = (validate(PrunerRow, f"snip@multishot[levels={n},rewind=lr]", "pruner") for n in (1, 2))
    shuffled = override(suite, ablations=["shuffle"], pruners=[one])
    assert shuffled.pruners == (one,)
    with pytest.raises(SuiteError, match="'shuffle' needs weights everywhere"):
        override(shuffled, pruners=[one, several])
    recorded = override(suite, pruners=[several])
    assert override(recorded, ablations=["shuffle"], pruners=[one]).ablations == ("shuffle",)


def test_fields_change_the_protocol_and_another_name_replaces_it(suite: Suite) -> None:
    first = override(suite, assignments=["protocol.pre_epochs=2"])
    changed = override(first, protocol=multishot(rewind="lr"))
    assert {setting.protocol for setting in changed.settings} == {Multishot(levels=3, rewind="lr")}
    longer = override(changed, protocol={"levels": 7})
    assert longer.settings[0].protocol == Multishot(levels=7, rewind="lr")
    assert override(longer, protocol={"name": "multishot", "rewind": 5}).settings[0].protocol == Multishot(
        levels=7, rewind=5
    )
    assert override(longer, protocol={"name": "singleshot"}).settings[0].protocol == Singleshot()
    assert override(suite, assignments=["protocol.name=multishot", "protocol.levels=2"]).settings[
        0
    ].protocol == Multishot(levels=2)


def test_one_problem_is_reported_once(suite: Suite) -> None:
    one = suite.model_copy(update={"settings": suite.settings[:1]})
    with pytest.raises(SuiteError) as error:
        override(one, protocol={"name": "multishot"})
    assert str(error.value).count(";") == 0


def test_a_protocol_lists_its_trainings_and_describes_itself() -> None:
    assert Singleshot().trainings(5) == [5]
    assert Singleshot(pre_epochs=2).trainings(5) == [2, 5]
    assert Multishot(levels=2).trainings(5) == [5, 5, 5]
    assert Multishot(levels=2, pre_epochs=1).trainings(5) == [1, 1, 5]
    assert "1 epoch," in Multishot(levels=2, pre_epochs=1).summary(5)
    assert Finetune(epochs=2).trainings(5) == [5, 2]
    assert "after 5 epochs, fine-tuned for 2 epochs" in Finetune(epochs=2).summary(5)


def test_only_fine_tuning_has_another_recipe_in_its_last_training() -> None:
    recipe = Recipe(epochs=6, lr=0.4, schedule="step", milestones=(3, 5), gamma=0.5, warmup_epochs=1)
    assert Singleshot(pre_epochs=2).last_recipe(recipe) == recipe == Multishot(levels=2).last_recipe(recipe)
    constant = Recipe(epochs=2, lr=0.1)
    assert Finetune(epochs=2).last_recipe(recipe) == constant
    assert Finetune(epochs=2, lr=0.3).last_recipe(recipe) == Recipe(epochs=2, lr=0.3)


def test_the_label_of_a_protocol_is_read_as_that_protocol() -> None:
    for protocol in (Multishot(levels=2, rewind="lr"), Finetune(epochs=3, lr=0.5), Singleshot(pre_epochs=2)):
        assert validate(PrunerRow, f"snip@{protocol.label}", "pruner").protocol == protocol
    assert "step 500" in Multishot(levels=1, rewind=500).summary(5)
    assert "2 epochs" in Singleshot(pre_epochs=2).summary(5)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("fc", ("fc",)),
        (["b", "a", "b"], ("a", "b")),
        ("layer1.*, fc.weight", ("fc.weight", "layer1.*")),
        (0, ("0",)),
        ([0, "2.weight"], ("0", "2.weight")),
        ([], ()),
    ],
    ids=str,
)
def test_names_of_parameters_are_text_or_lists_in_any_order(given: Any, expected: tuple[str, ...]) -> None:
    for field in ("only", "skip"):
        assert getattr(PruningOptions.model_validate({field: given}), field) == expected


@pytest.mark.parametrize("given", ["", ["a", ""], 1.5, True, [None], {"a": 1}, None, "a,"], ids=str)
def test_other_values_are_no_names(given: Any) -> None:
    with pytest.raises(ValidationError, match="name"):
        PruningOptions.model_validate({"skip": given})


def test_new_options_are_not_hashed_where_they_have_no_effect() -> None:
    plain = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 1}}
    setting = Setting.model_validate(plain)
    neutral = {
        "only": [],
        "skip": [],
        "prune_embedding": False,
        "examples": "balanced",
        "biases": "keep",
        "granularity": "weight",
        "group_score": "sum",
    }
    same = {**plain, "pruning": neutral}
    assert Setting.model_validate(same).digest == setting.digest
    one, other = ({**plain, "pruning": {"skip": names}} for names in (["a", "b"], "b,a"))
    assert Setting.model_validate(one).digest == Setting.model_validate(other).digest != setting.digest
    assert setting.pruning.omitted == neutral.keys()
