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


class Choosy(WithoutData):
    """Is not defined at high compression, nor with batch norm."""

    least: float = 0.4
    reads_data: bool = False

    def score(self, problem):
        if problem.density < self.least:
            raise NotDefinedError("too few weights are left")
        if any(isinstance(m, nn.BatchNorm2d) for m in problem.model.modules()):
            raise NotDefinedError("it has batch norm")
        if self.reads_data:
            next(problem.batches())
        return super().score(problem)


def skipped(report) -> dict[str, str]:
    return {finding.rule: finding.reason for finding in report.findings if finding.verdict == "skip"}


def test_rules_are_checked_at_compressions_at_which_the_method_is_defined() -> None:
    report = check_pruner(Choosy)
    assert report.passed
    reasons = skipped(report)
    of_batch_norm = [
        rule for rule, reason in reasons.items() if reason == "not defined here: it has batch norm"
    ]
    assert "batch-norm" in of_batch_norm
    assert reasons.keys() - set(of_batch_norm) == {"data-unchanged"}
    assert {"exact-density", "deterministic", "residual", "scores-rank", "cost"}.isdisjoint(reasons)


def test_a_fault_at_low_compression_alone_is_found(broken) -> None:
    assert broken(check_pruner(Choosy, {"reads_data": True})) == ["data-free"]


def test_a_method_that_is_defined_nowhere_is_checked_by_no_rule_on_masks() -> None:
    report = check_pruner(Choosy, {"least": 2.0})
    assert report.passed
    assert {"exact-density", "deterministic", "scores-fit", "weights-unchanged"} <= skipped(report).keys()


@pytest.mark.parametrize("name", ["smart-ratio", "uniform-plus"])
def test_pruners_with_a_domain_are_checked_by_every_rule_about_masks(name) -> None:
    report = check_pruner(name)
    assert report.passed
    without_scores = {"scores-fit", "scores-finite", "scores-rank", "granularity", "data-unchanged"}
    assert skipped(report).keys() == without_scores


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
