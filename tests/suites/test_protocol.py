"""The protocol of a setting: what it may be, and what it changes in keys and titles."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.errors import SuiteError
from synflow_bench.suites import Multishot, Setting, Singleshot, Suite, override, validate

PLAIN: dict[str, Any] = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 5}}


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


def test_the_title_names_a_protocol_that_is_not_the_plain_one() -> None:
    assert setting({}).title == "digits / fc"
    assert setting(multishot()).title == "digits / fc / multishot"


@pytest.mark.parametrize(
    ("protocol", "epochs"),
    [({}, 5), ({"pre_epochs": 2}, 7), (multishot(), 20), (multishot(levels=2, pre_epochs=1), 7)],
)
def test_the_epochs_of_all_trainings_are_counted(protocol: Any, epochs: int) -> None:
    assert setting(protocol).total_epochs == epochs


@pytest.mark.parametrize(
    ("protocol", "fault"),
    [
        ({"name": "multishot"}, "protocol 'multishot' needs levels, such as levels = 5"),
        (multishot(levels=0), "levels: input should be greater than or equal to 1 (given 0)"),
        (multishot(pre_epochs=0), "pre_epochs: input should be greater than or equal to 1 (given 0)"),
        (multishot(rewind="end"), "rewind is 'init', 'lr' or an optimizer step such as 500, not 'end'"),
        (multishot(rewind=-1), "not -1"),
        (multishot(rewind=1.5), "not 1.5"),
        (multishot(rewind=True), "not True"),
        (multishot(round=3), "round: no such field"),
        ({"levels": 3}, "levels: no effect with protocol 'singleshot'; leave out, or take 'multishot'"),
        ({"name": "singleshot", "levels": 3, "rewind": "lr"}, "levels, rewind: no effect with"),
        ({"name": "mutlishot"}, "a protocol is a table whose name is 'singleshot' or 'multishot'"),
        (7, "a protocol is a table"),
    ],
)
def test_what_is_not_valid_is_told_in_one_line(protocol: Any, fault: str) -> None:
    with pytest.raises(SuiteError) as error:
        setting(protocol)
    assert fault in str(error.value)
    assert "\n" not in str(error.value)


def test_levels_without_an_epoch_are_refused() -> None:
    untrained = {**PLAIN, "recipe": {"epochs": 0}}
    with pytest.raises(SuiteError, match="protocol 'multishot' trains in every level; give the recipe"):
        validate(Setting, {**untrained, "protocol": multishot()}, "setting")
    assert validate(Setting, {**untrained, "protocol": multishot(pre_epochs=2)}, "setting").total_epochs == 6


@pytest.mark.parametrize(("levels", "rewind", "fits"), [(2, "lr", False), (1, "lr", True), (2, "init", True)])
def test_masks_are_shuffled_only_where_weights_are_left(
    suite: Suite, levels: int, rewind: str, fits: bool
) -> None:
    protocol = {"name": "multishot", "levels": levels, "rewind": rewind}
    if fits:
        assert override(suite, ablations=["shuffle"], protocol=protocol).ablations == ("shuffle",)
    else:
        with pytest.raises(SuiteError, match="ablation 'shuffle' needs weights everywhere"):
            override(suite, ablations=["none", "shuffle"], protocol=protocol)


def test_a_protocol_is_laid_over_its_like_and_takes_the_place_of_another(suite: Suite) -> None:
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


def test_one_fault_is_told_once(suite: Suite) -> None:
    one = suite.model_copy(update={"settings": suite.settings[:1]})
    with pytest.raises(SuiteError) as error:
        override(one, protocol={"name": "multishot"})
    assert str(error.value).count(";") == 0
