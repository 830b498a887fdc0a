"""Each faulty pruner is caught by the rule that it breaks, and by no other."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest
from faulty_pruners import FAULTY, Greedy, Raises, Slow, Sound, WithoutData

from synflow_bench.host import Host
from synflow_bench.testing import RULES, check_pruner, pruners
from synflow_bench.testing._dependencies import Dependencies

NAMES = [rule.name for rule in RULES["pruner"]]


@pytest.mark.parametrize("sound", [Sound, WithoutData])
def test_a_sound_pruner_keeps_every_rule(sound, broken) -> None:
    report = check_pruner(sound)
    assert report.passed
    assert broken(report) == []
    assert [finding.rule for finding in report.findings] == NAMES


@pytest.mark.parametrize("faulty", FAULTY, ids=lambda kind: kind.__name__)
def test_a_faulty_pruner_is_caught_by_the_right_rule_alone(faulty, broken, monkeypatch) -> None:
    if faulty is Slow:
        monkeypatch.setattr(pruners, "MOST_SECONDS", 0.02)
    if faulty is Greedy:
        monkeypatch.setattr(pruners, "MOST_MEMORY", 20)
    report = check_pruner(faulty)
    assert broken(report) == [FAULTY[faulty]]
    assert not report.passed


def test_every_rule_has_a_pruner_that_breaks_it() -> None:
    assert set(FAULTY.values()) == set(NAMES)


def test_every_rule_says_in_a_sentence_what_it_asks() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert rule.says[:1].isupper(), rule.name
            assert rule.says.endswith("."), rule.name


def test_a_fault_ends_with_its_rule() -> None:
    import torch

    before = torch.get_default_dtype(), torch.get_num_threads()
    check_pruner(next(kind for kind, name in FAULTY.items() if name == "settings-unchanged"))
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before


def test_behind_a_broken_gate_nothing_is_asked() -> None:
    report = check_pruner(next(kind for kind, name in FAULTY.items() if name == "scores-finite"))
    later = report.findings[NAMES.index("scores-finite") + 1 :]
    assert {(finding.verdict, finding.reason) for finding in later} == {
        ("skip", "not asked: scores-finite failed")
    }


def test_an_exception_is_told_with_the_authors_line() -> None:
    (finding, *_) = check_pruner(Raises).failures
    assert finding.rule == "exact-density"
    assert finding.reason.startswith("KeyError: 0.5 (faulty_pruners.py, line ")


def test_parameters_are_tried_in_place_of_the_defaults() -> None:
    report = check_pruner(Sound, {"rounds": 3})
    assert report.passed
    assert not check_pruner(Sound, {"rounds": 0}).passed


SOLVING = """
    from synflow_bench import Pruner

    class NeedsSolver(Pruner):
        needs_data = False
        def score(self, problem):
            import a_solver_that_nobody_has

    class Whole(NeedsSolver):
        def prune(self, problem, density):
            import a_slover_that_nobody_has

    @hookimpl
    def synflow_bench_pruners():
        return {"solver": NeedsSolver}
"""


@pytest.fixture
def solving(distribution) -> ModuleType:
    """The module of a distribution with an extra for a solver."""
    extra = "a-solver-that-nobody-has; extra == 'solver'"
    distribution("solving", SOLVING, requires=f"synflow-bench\nRequires-Dist: {extra}")
    return import_module("solving")


def test_a_pruner_that_needs_an_extra_that_is_not_installed_is_skipped(solving) -> None:
    report = check_pruner(solving.NeedsSolver)
    assert report.passed
    reasons = {finding.rule: finding.reason for finding in report.findings if finding.verdict == "skip"}
    assert reasons["scores-fit"] == "needs 'a_solver_that_nobody_has', which is not installed"
    assert reasons["exact-density"] == reasons["scores-fit"]


def test_a_misspelt_import_is_a_failure_of_one_rule(solving) -> None:
    report = check_pruner(solving.Whole)
    reasons = {finding.rule: finding.reason for finding in report.failures}
    assert list(reasons) == ["exact-density"]
    assert reasons["exact-density"].startswith(
        "ModuleNotFoundError: No module named 'a_slover_that_nobody_has' (solving.py, line "
    )


def test_extras_of_the_harness_may_be_missing_anywhere() -> None:
    for name, told in (("pyarrow", "pyarrow"), ("trch", None), ("torch.nn.functionl", None), (None, None)):
        assert Dependencies("lab.py").missing(ModuleNotFoundError("no", name=name)) == told
    assert Dependencies().missing(ImportError("no", name="pyarrow")) is None


@pytest.mark.parametrize(("kind", "told"), [(len, "builtin_function_or_method 'len'"), ([], "a list")])
def test_what_is_no_class_of_a_pruner_is_named_without_its_address(kind, told) -> None:
    (finding,) = check_pruner(kind).failures
    assert finding.reason == f"{told} is no subclass of synflow_bench.Pruner; make it one"


@pytest.mark.slow
@pytest.mark.parametrize("name", Host.load().pruners.names())
def test_pruners_that_come_with_the_harness_keep_every_rule(name) -> None:
    failures = {finding.rule: finding.reason for finding in check_pruner(name).failures}
    assert failures == {}
