"""`check` tells every rule with its verdict, and exits with 1 where one is broken."""

from __future__ import annotations

import json

import pytest

PRUNERS = """
from synflow_bench import Pruner

class Mine(Pruner):
    needs_data = False
    rounds: int = 2
    def score(self, problem):
        return {name: p.detach().abs() for name, p in problem.parameters.items()}

class Faulty(Mine):
    def score(self, problem):
        return {}

class Mistaken(Mine):
    def score(self, problem):
        import trch
        return super().score(problem)

@hookimpl
def synflow_bench_pruners():
    return {
        "mine": Mine, "faulty": Faulty, "both": Mine, "lazy": "mine_in_part:Lazy", "typo": "mine:None_",
        "mistaken": Mistaken, "function": synflow_bench_pruners,
    }
"""


@pytest.fixture(autouse=True)
def mine(distribution):
    extra = "A.Solver-nobody_has[fast]>=2; extra == 'solver'"
    source = distribution("mine", PRUNERS, requires=f"synflow-bench\nRequires-Dist: {extra}")
    source.with_name("mine_in_part.py").write_text("import a_solver_nobody_has")


def test_every_rule_is_told_and_the_exit_code_is_zero(invoke):
    outcome = invoke("check", "mine")
    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert lines[0] == "pruner mine"
    assert lines[1].split() == ["rule", "verdict", "reason"]
    assert ["exact-density", "pass"] in [line.split() for line in lines]
    assert lines[-2] == "20 kept, 1 skipped"


def test_a_broken_rule_makes_the_exit_code_one(invoke):
    outcome = invoke("check", "faulty", "digits")
    assert outcome.code == 1
    assert "scores-fit            fail     no scores for layer 'classifier.weight'" in outcome.out
    assert "dataset digits" in outcome.out


def test_json_is_alone_on_stdout(invoke):
    outcome = invoke("check", "faulty", "--json")
    (report,) = json.loads(outcome.out)
    assert outcome.code == 1
    assert (report["kind"], report["name"], report["passed"]) == ("pruner", "faulty", False)
    by_rule = {finding["rule"]: finding for finding in report["findings"]}
    assert by_rule["contract"]["verdict"] == "pass"
    assert by_rule["scores-fit"]["verdict"] == "fail"
    assert by_rule["cost"]["reason"] == "not asked: scores-fit failed"


def test_a_missing_module_that_nothing_declares_is_a_failure(invoke):
    outcome = invoke("check", "mistaken", "--json")
    (report,) = json.loads(outcome.out)
    assert outcome.code == 1
    (broken,) = (finding for finding in report["findings"] if finding["verdict"] == "fail")
    assert broken["rule"] == "scores-fit"
    assert broken["reason"].startswith("ModuleNotFoundError: No module named 'trch' (mine.py, line ")


def test_in_a_plugin_file_nothing_is_declared(invoke, tmp_path):
    file = tmp_path / "lab_lazy.py"
    lines = ("from synflow_bench import hookimpl", "@hookimpl", "def synflow_bench_pruners():")
    file.write_text("\n".join([*lines, "    return {'of-file': 'mine_in_part:Lazy'}"]))
    outcome = invoke("check", "of-file", "--plugin", str(file))
    assert outcome.code == 1
    assert "ModuleNotFoundError: No module named 'a_solver_nobody_has'" in outcome.out


def test_what_is_no_pruner_is_told_what_to_make_it(invoke):
    outcome = invoke("check", "function")
    assert outcome.code == 1
    assert (
        "function 'synflow_bench_pruners' is no subclass of synflow_bench.Pruner; make it one" in outcome.out
    )


def test_a_missing_optional_dependency_is_a_skip(invoke):
    outcome = invoke("check", "lazy", "--json")
    (report,) = json.loads(outcome.out)
    assert outcome.code == 0
    assert {(finding["verdict"], finding["reason"]) for finding in report["findings"]} == {
        ("skip", "needs 'a_solver_nobody_has', which is not installed")
    }


def test_a_reference_that_leads_nowhere_is_a_failure(invoke):
    outcome = invoke("check", "typo")
    assert outcome.code == 1
    assert "cannot load pruner 'typo' of mine 1.0 from 'mine:None_'" in outcome.out


def test_parameters_are_tried(invoke):
    assert invoke("check", "mine[rounds=3]").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["magntude"], "unknown pruner, model or dataset 'magntude'; did you mean 'magnitude'?"),
        (
            ["nonesuch"],
            "unknown pruner, model or dataset 'nonesuch'; `synflow-bench list pruners`, "
            "`synflow-bench list models`, `synflow-bench list datasets` name the installed\n",
        ),
        (
            ["fc", "--kind", "dataset"],
            "unknown dataset 'fc'; `synflow-bench list datasets` names the installed\n",
        ),
        (
            ["mine[round=3]"],
            "unknown parameter of pruner 'mine' of mine 1.0: 'round'; did you mean 'rounds'?",
        ),
        (
            ["mine[rounds=many]"],
            "pruner 'mine' of mine 1.0: parameter rounds='many': input should be a valid integer",
        ),
        (["mine[rounds"], "pruner: cannot read pruner 'mine[rounds'; write it as name or name[key=value"),
        (["fc[width=3]"], "model 'fc' is checked without parameters; write 'fc'"),
        ([], "missing argument 'NAME...'"),
        (["fc", "--kind", "suite"], "invalid value for '--kind'"),
    ],
)
def test_what_cannot_be_checked_is_one_line(invoke, arguments, message):
    outcome = invoke("check", *arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"error: {message}")
    assert outcome.err.count("\n") == 1


def test_a_name_of_two_kinds_is_checked_as_both(distribution, invoke):
    distribution("other", "from torch import nn\n@hookimpl\ndef synflow_bench_models(): return {'both': nn}")
    outcome = invoke("check", "both", "--json")
    assert [(report["kind"], report["passed"]) for report in json.loads(outcome.out)] == [
        ("pruner", True),
        ("model", False),
    ]
    assert invoke("check", "both", "--kind", "pruner").code == 0


def test_help_imports_no_torch(launch):
    code = """
import sys
from synflow_bench.cli import main

main(["check", "--help"])
print("torch" in sys.modules)
"""
    assert launch(code=code).out.endswith("False\n")
