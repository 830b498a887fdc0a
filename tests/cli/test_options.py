"""Options that cannot be used end `run` with one line that names them, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Plan = Callable[..., list[tuple[str, ...]]]

RANDOM = ["--pruner", "random", "--compression", "10"]
CHOOSY = """
    from typing import Literal
    from synflow_bench import Pruner
    class Choosy(Pruner):
        needs_data = False
        share: float = 0.5
        mode: Literal['fast', 'slow'] = 'fast'
        signed: bool = False
        note: str = ''
        def __post_init__(self):
            super().__post_init__()
            if not 0 < self.share <= 1:
                raise ValueError(f'share must be in (0, 1], not {self.share}')
        def score(self, problem):
            return {name: weight.abs() for name, weight in problem.parameters.items()}
    @hookimpl
    def synflow_bench_pruners():
        return {'choosy': Choosy}
"""
SUITE = """
compressions = [2]
seeds = 1
settings = [{{ dataset = "digits", model = "fc", recipe = {{ epochs = 1 }} }}]
pruners = {pruners}
"""


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["--pruner", "synflw"], ["'synflw'", "'synflow'"]),
        (["--pruner", "xyzzy"], ["'xyzzy'", "--plugin FILE"]),
        (["--pruner", "synflow["], ["'synflow['", "name["]),
        (["--pruner", "dense"], ["'dense'"]),
        (["--model", "cov"], ["'cov'", "'conv'"]),
        (["--dataset", "digit"], ["'digit'", "'digits'"]),
        (["--suite", "quik"], ["'quik'", "'quick'"]),
        (["--suite", "./quik.toml"], ["'quik.toml'", "synflow-bench list suites"]),
        (["--ablation", "shufle"], ["ablations[0]", "'shuffle'"]),
        (
            ["--ablation", "shuffle", "--pruner", "magnitude@multishot[levels=2,rewind=lr]"],
            ["'shuffle' needs weights everywhere"],
        ),
        (["--device", "gpu"], ["'gpu'", "cuda"]),
        (["--device", "cuda:77"], ["'cuda:77'"]),
        (["--device", "cuda:77", "--dry-run"], ["'cuda:77'"]),
        (["--compression", "0.5"], ["compression 0.5", "sparsity"]),
        (["--compression", "nan"], ["compressions[0]", "nan"]),
        (["--compression", "ten"], ["--compression", "'ten'"]),
        (["--sparsity", "1"], ["sparsity 1"]),
        (["--sparsity", "-0.1"], ["sparsity -0.1"]),
        (["--sparsity", "nan"], ["sparsity nan"]),
        (["--sparsity", "most"], ["--sparsity", "'most'"]),
        (["--seeds", "0"], ["--seeds", "'0'"]),
        (["--seeds", "-1"], ["--seeds", "'-1'"]),
        (["--seeds", "0,-4"], ["--seeds", "'0,-4'"]),
        (["--seeds", "0,,7"], ["--seeds", "'0,,7'"]),
        (["--seeds", "1.5"], ["--seeds", "'1.5'"]),
        (["--seeds", "some"], ["--seeds", "'some'"]),
        (["--seeds", ","], ["--seeds", "','"]),
        (["--seeds", "20240101"], ["--seeds 20240101,"]),
        (["--set", "recipe.lr"], ["'recipe.lr'", "path=value"]),
        (["--set", "recipe.momentum=0.5"], ["momentum", "'adam'"]),
        (["--set", "recipe.lrr=1"], ["settings[0].recipe.lrr"]),
        (["--all", *RANDOM], ["--all", "--pruner"]),
        (["--force", "--no-retry-failed"], ["--force", "--no-retry-failed"]),
        (["--details", "--json"], ["--details", "--json"]),
        (["--details", "--dry-run"], ["--details", "--dry-run"]),
        (["--log", "csv", "--dry-run"], ["--log", "--dry-run"]),
        (["--workers", "2"], ["'serial'", "1 worker"]),
        (["--workers", "0"], ["--workers"]),
        (["--epochs", "-1"], ["--epochs"]),
        (["--executor", "lokal"], ["'lokal'", "'local'"]),
        (["--precision", "fp8"], ["--precision", "'fp8'"]),
        (["--protocol", "multi"], ["--protocol", "'multi'"]),
        (["--protocol", "finetune"], ["'finetune'", "epochs"]),
        (["--protocol", "finetune[epochs"], ["--protocol", "finetune[epochs=5]"]),
        ([*RANDOM, "--pruner", "snip@multi[levels=2]"], ["'singleshot', 'multishot' or 'finetune'"]),
        (["--protocol", "multishot"], ["'multishot'", "levels"]),
        (["--levels", "3"], ["levels", "'singleshot'"]),
        (["--protocol", "singleshot", "--rewind", "lr"], ["rewind", "'singleshot'"]),
        (["--protocol", "multishot", "--levels", "2", "--rewind", "back"], ["rewind", "'back'"]),
        ([*RANDOM, "--protocol", "multishot", "--levels", "2", "--rewind", "12"], ["step 12", "1 x 11"]),
        (["--protocol", "multishot", "--levels", "0"], ["--levels"]),
    ],
)
def test_a_wrong_option_is_one_line_and_nothing_runs(
    run: Run, results: Path, arguments: list[str], facts: list[str]
) -> None:
    run(*arguments).assert_refused(*facts)
    assert not results.exists()


def test_all_errors_of_a_suite_are_in_one_line(run: Run, tmp_path: Path) -> None:
    suite = tmp_path / "faulty.toml"
    suite.write_text(
        'compressions = [0.1]\nseeds = 1\nsettings=[{dataset="digits", model="fc", recipe={epochs=-1,lr=0}}]'
    )
    paths = ("compressions[0]: ", "settings[0].recipe.epochs: ", "settings[0].recipe.lr: ")
    run("--suite", str(suite)).assert_refused(*paths)


def test_a_list_of_seeds_names_them_and_a_number_counts_them(plan: Plan) -> None:
    def seeds(text: str) -> list[str]:
        return [seed for _, _, row, _, seed in plan(*RANDOM, "--seeds", text) if row == "random"]

    assert seeds("0,4,7") == ["seed 0", "seed 4", "seed 7"]
    assert seeds("20240101,") == ["seed 20240101"]
    assert seeds("2") == ["seed 0", "seed 1"]
    assert sorted(seeds("4,0,4")) == ["seed 0", "seed 4"]


def test_a_sparsity_is_a_compression_and_goes_with_others(plan: Plan) -> None:
    chosen = ["--compression", "2", "--sparsity", "0.9", "--sparsity", "0.75"]
    cells = plan("--pruner", "random", *chosen)
    assert [each for _, _, row, each, _ in cells if row == "random"] == [
        "compression 2",
        "compression 10",
        "compression 4",
    ]


@pytest.fixture(params=["command line", "suite"])
def plan_of(request: pytest.FixtureRequest, run: Run, tmp_path: Path, distribution: Any) -> Run:
    """Plan a pruner that the command line or a suite names; `distribution` has installed `choosy`."""
    distribution("choosy-pruners", CHOOSY)

    def on_the_command_line(name: str, inside: str) -> Any:
        return run("--dry-run", "--json", "--compression", "2", "--pruner", f"{name}[{inside}]")

    def in_a_suite(name: str, inside: str) -> Any:
        fields = ", ".join(toml(item) for item in inside.split(","))
        suite = tmp_path / "mine.toml"
        pruners = f'[{{ name = "{name}", parameters = {{ {fields} }} }}]'
        suite.write_text(SUITE.format(pruners=pruners), encoding="utf-8")
        return run("--dry-run", "--json", "--suite", str(suite))

    return on_the_command_line if request.param == "command line" else in_a_suite


def toml(item: str) -> str:
    key, _, values = item.partition("=")
    quoted = [
        v if v[0].isdigit() or v in ("true", "false") or v[0] == '"' else f'"{v}"' for v in values.split("|")
    ]
    return f"{key} = {quoted[0] if len(quoted) == 1 else '[' + ', '.join(quoted) + ']'}"


@pytest.mark.parametrize(
    ("name", "inside", "found"),
    [
        ("synflow", "rounds=10", ["synflow[rounds=10]"]),
        ("synflow", "rounds=1|10|100", ["synflow[rounds=1]", "synflow[rounds=10]", "synflow"]),
        ("synflow", "rounds=3|3", ["synflow[rounds=3]"]),
        (
            "synflow",
            "rounds=1|5,schedule=linear|exponential",
            [
                *("synflow[rounds=1,schedule=linear]", "synflow[rounds=1]"),
                *("synflow[rounds=5,schedule=linear]", "synflow[rounds=5]"),
            ],
        ),
        ("choosy", "share=1|0.5,signed=true", ["choosy[share=1.0,signed=true]", "choosy[signed=true]"]),
    ],
)
def test_each_combination_of_parameters_is_a_row(
    plan_of: Run, name: str, inside: str, found: list[str]
) -> None:
    outcome = plan_of(name, inside)
    assert outcome.code == 0, outcome.err
    rows = [cell["cell"].split(" / ")[2] for cell in json.loads(outcome.out)["cells"]]
    assert rows == ["dense", *found]


@pytest.mark.parametrize(
    ("inside", "facts"),
    [
        ("shares=1", ["'shares'", "'share'"]),
        ("xyzzy=1", ["'xyzzy'", "mode, note, rounds, schedule, share, signed"]),
        ("share=much", ["share='much'"]),
        ("share=true", ["share=True"]),
        ("rounds=true", ["rounds=True"]),
        ('rounds="1"', ["rounds='1'"]),
        ("rounds=1.5", ["rounds=1.5"]),
        ("rounds=1|1.5", ["rounds=1.5"]),
        ("rounds=0", ["rounds must be at least 1"]),
        ("signed=1", ["signed=1"]),
        ("mode=quick", ["mode='quick'", "'fast' or 'slow'"]),
        ("note=1", ["note=1"]),
        ("share=0|1", ["share must be in (0, 1], not 0.0"]),
    ],
)
def test_a_wrong_parameter_is_one_line_that_names_the_distribution(
    plan_of: Run, inside: str, facts: list[str]
) -> None:
    plan_of("choosy", inside).assert_refused("pruner 'choosy' of choosy-pruners 1.0", *facts)
