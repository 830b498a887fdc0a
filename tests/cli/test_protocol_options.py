"""`synflow-bench run --protocol`: levels and rewindings from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.fixture
def run(invoke: Run, tmp_path: Path) -> Run:
    """Magnitude on digits at compression 10, one seed, one epoch, in this process."""
    place = ("--results", str(tmp_path / "results"), "--data", str(tmp_path / "data"), "--executor", "serial")
    cells = ("--pruner", "magnitude", "--compression", "10", "--seeds", "1", "--epochs", "1")
    return lambda *arguments: invoke("run", *place, *cells, *arguments)


def test_iterative_magnitude_pruning_in_two_levels(run: Run, invoke: Run, tmp_path: Path) -> None:
    outcome = run("--protocol", "multishot", "--levels", "2")
    assert outcome.code == 0
    assert outcome.out.startswith("digits / fc / multishot\n")
    assert "pruned in 2 levels of 1 epoch, weights rewound to" in " ".join(outcome.out.split())
    record = next((tmp_path / "results").glob("records/**/magnitude/*.json"))
    levels = json.loads(record.read_text())["levels"]
    assert [round(level["density"], 3) for level in levels] == [1, 0.316, 0.1]
    shown = invoke("show", record.stem, "--results", str(tmp_path / "results")).out
    assert "levels" in shown
    assert "0.3162" in shown


def test_the_protocol_of_a_suite_can_be_changed_in_part(run: Run, tmp_path: Path) -> None:
    suite = tmp_path / "imp.toml"
    suite.write_text(
        'compressions = [10]\nseeds = 1\n[[settings]]\ndataset = "digits"\nmodel = "fc"\n'
        'recipe = { epochs = 1, optimizer = "adam" }\nprotocol = { name = "multishot", levels = 4 }\n'
    )
    keys = [
        {
            cell["key"]
            for cell in json.loads(run("--suite", str(suite), "--dry-run", "--json", *more).out)["cells"]
        }
        for more in ((), ("--levels", "4", "--rewind", "0"), ("--rewind", "lr"), ("--protocol", "singleshot"))
    ]
    assert keys[0] == keys[1]
    assert len(keys[0] | keys[2] | keys[3]) == 6


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--protocol", "multishot"], "protocol 'multishot' needs levels"),
        (["--levels", "3"], "levels: no effect with protocol 'singleshot'"),
        (["--protocol", "singleshot", "--rewind", "lr"], "rewind: no effect with protocol 'singleshot'"),
        (["--protocol", "multishot", "--levels", "2", "--rewind", "back"], "not 'back'"),
        (
            ["--protocol", "multishot", "--levels", "2", "--rewind", "21"],
            "digits / fc / multishot: rewind step 21 is beyond a training of 21 optimizer steps (1 x 21); "
            "choose a lower one, 'init' or 'lr'",
        ),
        (["--protocol", "multi"], "is not one of 'singleshot', 'multishot'"),
        (["--protocol", "multishot", "--levels", "0"], "0 is not in the range"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_written(
    run: Run, tmp_path: Path, arguments: list[str], says: str
) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert says in outcome.err
    assert outcome.err.count("\n") == 1
    assert not (tmp_path / "results").exists()
