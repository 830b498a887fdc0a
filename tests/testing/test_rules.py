"""Rules in general: sentences, gates, restored state, missing modules, and the place of an exception."""

from __future__ import annotations

import functools
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from faulty_pruners import AllEqual, NotANumber, Raises, TurnsToDouble, WithoutData

import synflow_bench
from synflow_bench.testing import RULES, check_model, check_pruner

NAMES = [rule.name for rule in RULES["pruner"]]
OURS = Path(synflow_bench.__file__).parent
TORCH = Path(torch.__file__).parent
PYTHON = Path(functools.__file__).parent


def test_every_rule_is_described_by_a_sentence() -> None:
    for rules in RULES.values():
        for rule in rules:
            assert rule.description[:1].isupper(), rule.name
            assert rule.description.endswith("."), rule.name


def test_a_report_has_a_finding_per_rule_in_the_order_of_the_rules() -> None:
    for pruner in (WithoutData, AllEqual):
        findings = check_pruner(pruner).findings
        assert [finding.rule for finding in findings] == NAMES
        assert [finding.description for finding in findings] == [rule.description for rule in RULES["pruner"]]


def test_rules_behind_a_broken_gate_are_skipped() -> None:
    later = check_pruner(NotANumber).findings[NAMES.index("scores-finite") + 1 :]
    assert {finding.verdict for finding in later} == {"skip"}
    assert all("scores-finite" in finding.reason for finding in later)


def test_the_global_state_is_restored_after_a_check() -> None:
    before = torch.get_default_dtype(), torch.get_num_threads()
    assert not check_pruner(TurnsToDouble).passed
    assert (torch.get_default_dtype(), torch.get_num_threads()) == before


def test_an_exception_is_described_with_the_line_of_the_author() -> None:
    (finding, *_) = check_pruner(Raises).failures
    assert finding.rule == "exact-density"
    assert finding.reason.startswith("KeyError: 0.5 (faulty_pruners.py:")


@pytest.mark.parametrize(
    ("file", "named"),
    [
        (OURS / "pruning" / "pruner.py", False),
        (TORCH / "nn" / "modules" / "module.py", False),
        (TORCH.parent / "torchvision" / "models" / "vgg.py", False),
        (functools.__file__, False),
        (PYTHON / "importlib" / "__init__.py", False),
        ("<string>", False),
        (OURS.parent / "synflow_bench_mine.py", True),
        (TORCH.parent / "torch_pruning" / "model.py", True),
        (PYTHON / "site-packages" / "mine" / "model.py", True),
        ("model.py", True),
    ],
)
def test_a_line_is_named_if_its_file_may_be_the_authors(file: Path | str, named: bool) -> None:
    names: dict[str, object] = {}
    code = "def fail(input_shape, num_classes): raise OSError('odd')"
    exec(compile(code, str(file), "exec"), names)  # noqa: S102  of our own making
    (finding,) = check_model(names["fail"]).failures
    assert finding.reason == "OSError: odd" + (f" ({Path(file).name}:1)" if named else "")


SOLVING = """
    from synflow_bench import Pruner

    class NeedsSolver(Pruner):
        needs_data = False
        def score(self, problem):
            import a_solver_that_nobody_has

    class Misspelled(NeedsSolver):
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


def test_rules_are_skipped_if_an_extra_of_the_plugin_is_not_installed(solving, skipped) -> None:
    report = check_pruner(solving.NeedsSolver)
    assert report.passed
    reasons = skipped(report)
    assert "'a_solver_that_nobody_has'" in reasons["scores-fit"]
    assert reasons["exact-density"] == reasons["scores-fit"]


def test_a_misspelled_import_is_a_failure_of_one_rule(solving) -> None:
    (finding,) = check_pruner(solving.Misspelled).failures
    assert finding.rule == "exact-density"
    assert finding.reason.startswith(
        "ModuleNotFoundError: No module named 'a_slover_that_nobody_has' (solving.py:"
    )


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (ModuleNotFoundError("no", name="pyarrow"), "skip"),
        (ModuleNotFoundError("no", name="trch"), "fail"),
        (ModuleNotFoundError("no", name="torch.nn.functionl"), "fail"),
        (ModuleNotFoundError("no", name=None), "fail"),
        (ImportError("no", name="pyarrow"), "fail"),
    ],
)
def test_only_extras_of_the_harness_may_be_missing_everywhere(error, verdict) -> None:
    class Importing(WithoutData):
        def score(self, problem):
            raise error

    verdicts = {finding.rule: finding.verdict for finding in check_pruner(Importing).findings}
    assert verdicts["scores-fit"] == verdict
