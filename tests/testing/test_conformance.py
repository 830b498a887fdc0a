"""The test classes give one test per rule, and need no plugin of pytest."""

from __future__ import annotations

import sys
from importlib import import_module
from textwrap import dedent

import pytest
from faulty_datasets import Sound as SoundDataset
from faulty_models import sound as sound_model
from faulty_pruners import WithoutData

from synflow_bench import testing
from synflow_bench.errors import UnknownNameError, UsageError
from synflow_bench.testing import (
    RULES,
    DatasetConformance,
    ModelConformance,
    PrunerConformance,
    check_dataset,
    check_model,
    check_pruner,
)


class TestWithoutData(PrunerConformance):
    pruner = WithoutData


class TestSoundModel(ModelConformance):
    factory = sound_model


class TestSoundDataset(DatasetConformance):
    dataset = SoundDataset


class Collected:
    """Outcome and message of every test of a run of pytest."""

    def __init__(self) -> None:
        self.outcomes: dict[str, str] = {}
        self.messages: dict[str, str] = {}

    def pytest_runtest_logreport(self, report) -> None:
        if report.when == "call" or report.outcome == "skipped":
            name = report.nodeid.partition("::")[2]
            self.outcomes[name] = report.outcome
            self.messages[name] = report.longreprtext or str(report.longrepr)


PROJECT = """
    from faulty_pruners import AllEqual
    from synflow_bench.testing import PrunerConformance

    class TestMine(PrunerConformance):
        pruner = AllEqual
"""


def test_a_class_gives_one_test_per_rule(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (tmp_path / "test_mine.py").write_text(dedent(PROJECT))
    collected = Collected()
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={tmp_path}"]
    pytest.main([*options, str(tmp_path / "test_mine.py")], plugins=[collected])
    assert list(collected.outcomes) == [f"TestMine::test_keeps[{rule.name}]" for rule in RULES["pruner"]]
    failed = [name for name, outcome in collected.outcomes.items() if outcome == "failed"]
    assert failed == ["TestMine::test_keeps[scores-rank]"]
    assert "scores-rank: scores of layer 'conv1.weight'" in collected.messages[failed[0]]
    assert collected.outcomes["TestMine::test_keeps[cost]"] == "skipped"
    assert "scores-rank" in collected.messages["TestMine::test_keeps[cost]"]


def test_all_tests_of_a_class_share_one_check() -> None:
    made = []

    def counted(input_shape, num_classes):
        made.append(input_shape)
        return sound_model(input_shape, num_classes)

    class Shared(ModelConformance):
        factory = counted

    Shared().test_keeps(RULES["model"][0])
    once = len(made)
    for rule in RULES["model"]:
        Shared().test_keeps(rule)
    assert len(made) == once


def test_a_class_that_names_no_plugin_is_an_error_with_the_attribute_to_set() -> None:
    class Empty(PrunerConformance):
        pass

    with pytest.raises(TypeError, match="Empty names no pruner"):
        Empty().test_keeps(RULES["pruner"][0])


@pytest.mark.parametrize("check", [check_pruner, check_model, check_dataset])
def test_an_unknown_name_is_an_error(check) -> None:
    with pytest.raises(UnknownNameError, match="nonesuch"):
        check("nonesuch")


@pytest.mark.parametrize(
    ("text", "error"),
    [("synflow[round=3]", UnknownNameError), ("synflow[rounds=many]", UsageError)],
)
def test_a_wrong_parameter_of_a_named_pruner_is_an_error(text, error) -> None:
    with pytest.raises(error, match="round"):
        check_pruner(text)


def test_the_kit_imports_no_pytest(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("synflow_bench.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("synflow_bench.testing", testing)  # restores it, whatever the import leaves
    monkeypatch.setitem(sys.modules, "pytest", None)  # an import of it raises
    assert import_module("synflow_bench.testing") is not testing
