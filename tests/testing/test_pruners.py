"""Each faulty pruner breaks the rule that it was made to break, and no other."""

from __future__ import annotations

import pytest
from faulty_pruners import FAULTY, Greedy, Slow, Sound, WithoutData
from torch import nn

from synflow_bench.errors import NotDefinedError
from synflow_bench.host import Host
from synflow_bench.testing import RULES, check_pruner, pruners


@pytest.mark.parametrize("sound", [Sound, WithoutData])
def test_a_sound_pruner_keeps_every_rule(sound, broken) -> None:
    report = check_pruner(sound)
    assert report.passed
    assert broken(report) == []


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda kind: kind.__name__)
def test_a_faulty_pruner_breaks_its_rule_alone(faulty, broken, monkeypatch) -> None:
    if faulty is Slow:
        monkeypatch.setattr(pruners, "MAX_SECONDS", 0.02)
    if faulty is Greedy:
        monkeypatch.setattr(pruners, "MAX_MEMORY_RATIO", 20)
    report = check_pruner(faulty)
    assert broken(report) == [FAULTY[faulty]]
    assert not report.passed


class Choosy(Sound):
    """Is not defined at high compression, nor with batch norm."""

    def score(self, problem):
        if problem.density < 0.01 or any(isinstance(m, nn.BatchNorm2d) for m in problem.model.modules()):
            raise NotDefinedError("too few weights are left")
        return super().score(problem)


def test_a_pruner_may_say_where_it_is_not_defined() -> None:
    report = check_pruner(Choosy)
    assert report.passed
    reasons = {finding.rule: finding.reason for finding in report.findings if finding.verdict == "skip"}
    assert reasons["batch-norm"] == "not defined here: too few weights are left"
    assert "exact-density" not in reasons


def test_every_rule_has_a_pruner_that_breaks_it() -> None:
    assert set(FAULTY.values()) == {rule.name for rule in RULES["pruner"]}


def test_parameters_are_tried_in_place_of_the_defaults(broken) -> None:
    assert check_pruner(Sound, {"rounds": 3}).passed
    assert broken(check_pruner(Sound, {"rounds": 0})) == ["contract"]


@pytest.mark.parametrize(("plugin", "named"), [(len, "builtin_function_or_method 'len'"), ([], "a list")])
def test_a_plugin_that_is_no_class_is_named_without_its_address(plugin, named) -> None:
    (finding,) = check_pruner(plugin).failures
    assert finding.reason.startswith(f"{named} is not a subclass of synflow_bench.Pruner")


@pytest.mark.slow
@pytest.mark.parametrize("name", Host.load().pruners.names())
def test_pruners_that_come_with_the_harness_keep_every_rule(name) -> None:
    failures = {finding.rule: finding.reason for finding in check_pruner(name).failures}
    assert failures == {}
