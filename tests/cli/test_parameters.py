"""Parameters of pruners, from the command line and from suites: each combination is a row of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

SUITE = """
compressions = [2]
seeds = 1
settings = [{{ dataset = "digits", model = "fc", recipe = {{ epochs = 1 }} }}]
pruners = {pruners}
"""
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

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture
def run(invoke: Run, tmp_path: Path) -> Run:
    place = ["--results", str(tmp_path / "results"), "--data", str(tmp_path / "data"), "--executor", "serial"]
    return lambda *arguments: invoke("run", "--compression", "2", "--seeds", "1", *place, *arguments)


@pytest.fixture(params=["text", "table"])
def look(request: pytest.FixtureRequest, run: Run, tmp_path: Path, distribution: Any) -> Run:
    """Plan a pruner given on the command line, or in a suite; `distribution` has installed `choosy`."""
    distribution("choosy-pruners", CHOOSY)

    def on_the_command_line(name: str, inside: str) -> Any:
        return run("--dry-run", "--json", "--pruner", f"{name}[{inside}]")

    def in_a_suite(name: str, inside: str) -> Any:
        fields = ", ".join(_toml(item) for item in inside.split(","))
        suite = tmp_path / "mine.toml"
        suite.write_text(
            SUITE.format(pruners=f'[{{ name = "{name}", parameters = {{ {fields} }} }}]'), encoding="utf-8"
        )
        return run("--dry-run", "--json", "--suite", str(suite))

    return on_the_command_line if request.param == "text" else in_a_suite


def _toml(item: str) -> str:
    key, _, values = item.partition("=")
    quoted = [
        v if v[0].isdigit() or v in ("true", "false") or v[0] == '"' else f'"{v}"' for v in values.split("|")
    ]
    return f"{key} = {quoted[0] if len(quoted) == 1 else '[' + ', '.join(quoted) + ']'}"


def rows(outcome: Any) -> list[str]:
    assert outcome.code == 0, outcome.err
    return [cell["cell"].split(" / ")[2] for cell in json.loads(outcome.out)["cells"]]


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
def test_each_combination_is_a_row(look: Run, name: str, inside: str, found: list[str]) -> None:
    assert rows(look(name, inside)) == ["dense", *found]


@pytest.mark.parametrize(
    ("inside", "message"),
    [
        ("shares=1", "unknown parameter of {}: 'shares'; did you mean 'share'?"),
        ("xyzzy=1", "unknown parameter of {}: 'xyzzy'; known: mode, note, rounds, schedule, share, signed"),
        ("share=much", "{}: parameter share='much': input should be a valid number"),
        ("share=true", "{}: parameter share=True: input should be a valid number"),
        ("rounds=true", "{}: parameter rounds=True: input should be a valid integer"),
        ('rounds="1"', "{}: parameter rounds='1': input should be a valid integer"),
        ("rounds=1.5", "{}: parameter rounds=1.5: input should be a valid integer"),
        ("rounds=1|1.5", "{}: parameter rounds=1.5: input should be a valid integer"),
        ("rounds=0", "{}: rounds must be at least 1, not 0"),
        ("signed=1", "{}: parameter signed=1: input should be a valid boolean"),
        ("mode=quick", "{}: parameter mode='quick': input should be 'fast' or 'slow'"),
        ("note=1", "{}: parameter note=1: input should be a valid string"),
        ("share=0|1", "{}: share must be in (0, 1], not 0.0"),
    ],
)
def test_a_parameter_that_cannot_be_is_one_line_that_names_its_distribution(
    look: Run, inside: str, message: str
) -> None:
    outcome = look("choosy", inside)
    title = "pruner 'choosy' of choosy-pruners 1.0"
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"error: {message.format(title)}\n"


def test_a_swept_pruner_has_a_row_for_each_value_on_the_board(run: Run) -> None:
    outcome = run("--epochs", "1", "--pruner", "synflow[rounds=1|2]")
    assert outcome.code == 0
    assert {"dense", "synflow[rounds=1]", "synflow[rounds=2]"} <= set(outcome.out.split())
