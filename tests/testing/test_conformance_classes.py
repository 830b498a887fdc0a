"""In a project's own tests: one class gives a test a rule, one fixture a whole report."""

from __future__ import annotations

import sys
from importlib import import_module
from textwrap import dedent

import pytest
from faulty_datasets import Sound as SoundDataset
from faulty_models import sound as sound_model
from faulty_pruners import AllEqual, WithoutData

from synflow_bench import testing
from synflow_bench.testing import (
    RULES,
    DatasetConformance,
    ModelConformance,
    PrunerConformance,
    pytest_plugin,
)


class TestWithoutData(PrunerConformance):
    pruner = WithoutData


class TestSoundModel(ModelConformance):
    factory = sound_model


class TestSoundDataset(DatasetConformance):
    dataset = SoundDataset


class Collected:
    """What a run of pytest reported: outcome and message of every test."""

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

    def test_faulty(conforms):
        conforms(pruner=AllEqual)

    def test_installed(conforms):
        assert conforms(dataset="digits").passed
"""


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Collected:
    """What pytest makes of a project of its own, with the plugin turned on."""
    root = tmp_path_factory.mktemp("project")
    (root / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    (root / "conftest.py").write_text('pytest_plugins = ["synflow_bench.testing.pytest_plugin"]\n')
    (root / "test_mine.py").write_text(dedent(PROJECT))
    collected = Collected()
    options = ["-p", "no:cacheprovider", "--import-mode=importlib", f"--rootdir={root}"]
    pytest.main([*options, str(root / "test_mine.py")], plugins=[collected])
    return collected


def test_a_class_gives_one_test_for_each_rule(collected) -> None:
    of_class = [name for name in collected.outcomes if name.startswith("TestMine")]
    assert of_class == [f"TestMine::test_keeps[{rule.name}]" for rule in RULES["pruner"]]
    failed = [name for name in of_class if collected.outcomes[name] == "failed"]
    assert failed == ["TestMine::test_keeps[scores-rank]"]
    assert "scores-rank: scores of layer 'conv1.weight' are all 1" in collected.messages[failed[0]]
    assert "not asked: scores-rank failed" in collected.messages["TestMine::test_keeps[cost]"]


def test_the_fixture_fails_with_every_broken_rule_and_gives_a_report_otherwise(collected) -> None:
    assert (collected.outcomes["test_faulty"], collected.outcomes["test_installed"]) == ("failed", "passed")
    lines = collected.messages["test_faulty"].splitlines()
    assert lines[0] == "pruner 'allequal' breaks rules:"
    assert lines[1].startswith("scores-rank: ")


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(TypeError, match="unknown kind 'suite'; known: pruner, model, dataset"):
        pytest_plugin._conforms(suite=AllEqual)


def test_a_class_that_names_no_plugin_is_told_what_to_write() -> None:
    class Empty(PrunerConformance):
        pass

    with pytest.raises(TypeError, match="Empty names no pruner; write `pruner"):
        Empty().test_keeps(RULES["pruner"][0])


def test_the_kit_imports_no_pytest(monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("synflow_bench.testing")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("synflow_bench.testing", testing)  # to put it back, whatever the import leaves
    monkeypatch.setitem(sys.modules, "pytest", None)  # what imports it now raises
    assert import_module("synflow_bench.testing") is not testing
