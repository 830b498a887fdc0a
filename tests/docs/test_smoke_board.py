"""The committed board: what its records give, and what training gives again, within a tolerance.

On equal hardware with equal versions the records are equal to the bit. Elsewhere sums are rounded in another
order: weights whose scores nearly tie change places, and trainings part. What must hold anywhere:

- the cells are the same and each is ok, and as many weights are kept;
- a layer keeps as many weights, but for 1 % or three of them;
- the mean accuracy of a row over its seeds is within `TOLERANCE` of the committed one.
"""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from pages import ROOT

from synflow_bench.cli import main

SMOKE = ROOT / "leaderboard" / "smoke"
TOLERANCE = 0.05
"""A share: five points of accuracy."""

Records = dict[str, dict[str, Any]]


def records(folder: Path) -> Records:
    paths = (folder / "records").glob("*/*/*/*.json")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def accuracies(found: Records) -> dict[tuple[str, str, float], float]:
    """The mean accuracy of every network, row and compression."""
    values = defaultdict(list)
    for record in found.values():
        cell = record["cell"]
        place = cell["setting"]["model"]["name"], cell["pruner"]["label"], cell["compression"]
        values[place].append(record["metrics"]["test_top1"])
    return {place: mean(those) for place, those in values.items()}


def differences(ours: Records, theirs: Records) -> list[str]:
    """What differs by more than it may, in words."""
    if ours.keys() != theirs.keys():
        return [f"other cells: {sorted(ours.keys() ^ theirs.keys())}"]
    found = [f"{key} is {r['status']}" for key, r in theirs.items() if r["status"] != "ok"]
    if found:
        return found
    for key, record in ours.items():
        if record["metrics"]["density"] != theirs[key]["metrics"]["density"]:
            found += [f"{key}: density"]
        for layer, other in zip(record["layers"], theirs[key]["layers"], strict=True):
            close = layer["kept"] == pytest.approx(other["kept"], rel=0.01, abs=3)
            found += [] if close else [f"{key}: {layer['name']} keeps {other['kept']}, not {layer['kept']}"]
    again = accuracies(theirs)
    found += [
        f"{place}: {again[place]:.3f}, not {value:.3f}"
        for place, value in accuracies(ours).items()
        if abs(again[place] - value) > TOLERANCE
    ]
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(SMOKE, tmp_path / "smoke")
    return tmp_path / "smoke"


def check(folder: Path) -> int:
    return main(["leaderboard", "--results", str(folder / "results"), "--check", str(folder / "board.md")])


def test_the_board_is_what_its_records_give() -> None:
    assert check(SMOKE) == 0
    assert len(records(SMOKE / "results")) == 2 * (5 * 3 * 3 + 3)


def test_the_records_are_of_every_engine_of_a_cpu() -> None:
    engines = {record["provenance"].get("engine") for record in records(SMOKE / "results").values()}
    assert engines >= {"stacked", "shrunk", "eager"}


def slightly_less(record: dict[str, Any]) -> None:
    record["metrics"]["test_top1"] -= 1e-9


def machine(record: dict[str, Any]) -> None:
    record["provenance"]["platform"] = "elsewhere"


@pytest.mark.parametrize("change", [slightly_less, machine], ids=["a number", "where it was run"])
def test_a_record_that_changes_makes_the_board_stale(
    change: Callable[[dict[str, Any]], None], copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = min((copy / "results").glob("records/*/*/snip/*.json"))
    record = json.loads(path.read_text(encoding="utf-8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    assert check(copy) == 1
    assert "is stale" in capsys.readouterr().err


def test_a_record_that_goes_makes_the_board_stale(copy: Path) -> None:
    min((copy / "results").glob("records/*/*/snip/*.json")).unlink()
    assert check(copy) == 1


def test_what_is_beyond_the_tolerance_is_noticed() -> None:
    ours, theirs = records(SMOKE / "results"), records(SMOKE / "results")
    assert differences(ours, theirs) == []
    for record in theirs.values():
        if record["cell"]["pruner"]["label"] == "snip":
            record["metrics"]["test_top1"] -= 1.1 * TOLERANCE
    found = differences(ours, theirs)
    assert len(found) == 2 * 3
    assert all("'snip'" in line for line in found)
    theirs = records(SMOKE / "results")
    key = min(key for key, record in theirs.items() if len(record["layers"]) == 6)
    theirs[key]["metrics"]["density"] *= 1.001
    theirs[key]["layers"][0]["kept"] += 100
    assert differences(ours, theirs)[0] == f"{key}: density"
    assert "linear1.weight keeps" in differences(ours, theirs)[1]
    theirs[key]["status"] = "failed"
    assert differences(ours, theirs) == [f"{key} is failed"]
    del theirs[key]
    assert differences(ours, theirs) == [f"other cells: {[key]}"]


@pytest.mark.slow
def test_training_gives_it_again(tmp_path: Path) -> None:
    assert main(["run", "--suite", str(SMOKE / "suite.toml"), "--results", str(tmp_path)]) == 0
    assert differences(records(SMOKE / "results"), records(tmp_path)) == []
