"""`study`: whole files or none, only rows on stdout, and bad input reported in one line."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench_studies.table import read_table

Invoke = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

FC = ("--model", "fc", "--input-shape", "1x8x8", "--classes", "10")
CUT = (
    "study",
    "cut-ratio",
    *FC,
    "--pruner",
    "synflow",
    "--compression",
    "10",
    "--rounds",
    "1",
    "--rounds",
    "3",
)


def test_json_is_a_list_of_rows_on_stdout_alone(invoke: Invoke) -> None:
    outcome = invoke(*CUT, "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert [(row["schedule"], row["rounds"]) for row in rows] == [
        ("linear", 1),
        ("exponential", 1),
        ("linear", 3),
        ("exponential", 3),
    ]
    assert all({"schedule", "compression", "rounds", "cut_ratio"} <= row.keys() for row in rows)


def test_a_sparsity_is_a_compression(invoke: Invoke) -> None:
    chosen = ("--pruner", "magnitude", "--compression", "2", "--sparsity", "0.75", "--sparsity", "0.9")
    outcome = invoke("study", "layer-density", *FC, *chosen, "--json")
    assert outcome.code == 0, outcome.err
    assert {row["compression"] for row in json.loads(outcome.out)} == {2, 4, 10}


def test_tables_of_all_formats_are_equal_and_charts_have_the_format_of_their_suffix(
    invoke: Invoke, tmp_path: Path
) -> None:
    table = tmp_path / "rows.json"
    assert invoke(*CUT, "--output", str(table)).code == 0
    rows = json.loads(table.read_text())
    begins = {".svg": b"<svg", ".png": b"\x89PNG", ".pdf": b"%PDF", ".html": b"<!DOCTYPE html"}
    for suffix, start in begins.items():
        chart = tmp_path / f"chart{suffix}"
        outcome = invoke("study", "cut-ratio", "--from", str(table), "--chart", str(chart))
        assert outcome.code == 0, outcome.err
        assert chart.read_bytes().lstrip()[:15].lower().startswith(start.lower())
    for suffix in (".csv", ".parquet"):
        copy = tmp_path / f"rows{suffix}"
        assert invoke("study", "cut-ratio", "--from", str(table), "--output", str(copy)).code == 0
        assert read_table(copy) == rows
    with (tmp_path / "rows.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("name", ["layer-density", "unit-conservation", "layer-conservation"])
def test_every_study_runs_without_data_and_draws(name: str, invoke: Invoke, tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    outcome = invoke("study", name, *FC, "--pruner", "magnitude", "--chart", str(chart), "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)
    assert "magnitude" in chart.read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["study", "cut-rato", *FC], "unknown study 'cut-rato'; did you mean 'cut-ratio'?"),
        (["study", "cut-ratio"], "name a model with --model"),
        (["study", "cut-ratio", "--model", "fc"], "name a dataset with --dataset"),
        (["study", "cut-ratio", *FC, "--dataset", "digits"], "a dataset has its own shape and classes"),
        (
            ["study", "cut-ratio", "--model", "imagenet/vgg11", "--input-shape", "3x32x32"],
            "--input-shape 3x32x32 needs a number of classes; add --classes",
        ),
        (["study", "cut-ratio", *FC, "--pruner", "snip"], "pruner 'snip' scores with data"),
        (["study", "cut-ratio", *FC, "--pruner", "snp"], "unknown pruner 'snp'; did you mean 'snip'?"),
        (["study", "cut-ratio", "--model", "fcc", "--dataset", "digits"], "unknown model 'fcc'"),
        (["study", "cut-ratio", "--model", "fc", "--input-shape", "8"], "invalid value for '--input-shape'"),
        (["study", "cut-ratio", *FC, "--compression", "0.5"], "compression 0.5"),
        (["study", "cut-ratio", *FC, "--sparsity", "1"], "sparsity 1"),
        (["study", "cut-ratio", *FC, "--sparsity", "most"], "invalid value for '--sparsity'"),
        (["study", "cut-ratio", *FC, "--epochs", "3"], "cut-ratio trains nothing"),
        (
            ["study", "imp-conservation", "--model", "fc", "--dataset", "digits", "--sparsity", "0.5"],
            "imp-conservation prunes nothing",
        ),
        (["study", "imp-conservation", *FC], "imp-conservation trains; name a dataset"),
        (["study", "cut-ratio", *FC, "--output", "x.txt"], "no table format has the suffix of 'x.txt'"),
        (["study", "cut-ratio", *FC, "--chart", "x.gif"], "no chart has the suffix of 'x.gif'"),
        (["study", "cut-ratio", *FC, "--force"], "--force has no effect without --output or --chart"),
        (["study", "cut-ratio", "--from", "nowhere.csv"], "cannot read table 'nowhere.csv'"),
        (["study", "cut-ratio", *FC, "--from", "nowhere.csv"], "cannot read table 'nowhere.csv'"),
        (
            ["study", "cut-ratio", "--from", "t.csv", "--pruner", "snp", "--rounds", "9"],
            "--from alone computes nothing, so --pruner and --rounds",
        ),
        (
            ["study", "cut-ratio", "--from", "t.csv", "--sparsity", "0.9"],
            "--from alone computes nothing, so --sparsity",
        ),
        (
            ["study", "cut-ratio", "--from", "t.csv", "--dataset", "digits"],
            "--from alone computes nothing, so --dataset",
        ),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], line: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(*arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {line}"), outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


DENSITIES = "dataset,model,seed,pruner,rounds,schedule,compression,index,layer,size,kept,density\n"
ROW = ",fc,0,random,1,exponential,10,1,linear1.weight,6400,640,0.1\n"
"""A table of `layer-density`."""


@pytest.mark.parametrize(
    ("study", "name", "content", "line"),
    [
        (
            "cut-ratio",
            "t.csv",
            DENSITIES + ROW,
            "'t.csv' is not a table of cut-ratio: row 1 lacks rounds_with_flow, cut_ratio; "
            "it is a table of layer-density",
        ),
        (
            "cut-ratio",
            "t.json",
            '[{"a": 1}]',
            "'t.json' is not a table of cut-ratio: row 1 lacks dataset, model, seed, pruner, rounds, "
            "schedule, compression, rounds_with_flow, cut_ratio; make one with",
        ),
        ("cut-ratio", "t.json", "[]", "table 't.json' has no rows; leave it out"),
        ("cut-ratio", "t.csv", "", "table 't.csv' has no rows; leave it out"),
        ("layer-density", "t.csv", DENSITIES, "table 't.csv' has no rows; leave it out"),
        ("cut-ratio", "t.json", '{"a": 1}', "cannot read table 't.json': it is not a JSON list of objects"),
        ("cut-ratio", "t.json", "[1, 2]", "cannot read table 't.json': it is not a JSON list of objects"),
        (
            "layer-density",
            "t.csv",
            DENSITIES + ",fc\n",
            "cannot read table 't.csv': line 2 has 2 values for 12 columns",
        ),
        (
            "layer-density",
            "t.csv",
            DENSITIES + ROW + ROW.replace("0.1", "most"),
            "'t.csv' is not a table of layer-density: in row 2, density is 'most', not a number",
        ),
        (
            "layer-density",
            "t.csv",
            DENSITIES + ROW.replace("0.1", ""),
            "'t.csv' is not a table of layer-density: in row 1, density is None, not a number",
        ),
        (
            "layer-density",
            "t.csv",
            DENSITIES + ROW.replace("6400", "0"),
            "'t.csv' is not a table of layer-density: in row 1, size is 0",
        ),
    ],
)
def test_a_file_that_is_not_a_table_of_the_study_is_refused_in_one_line(
    study: str,
    name: str,
    content: str,
    line: str,
    invoke: Invoke,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(content)
    outcome = invoke("study", study, "--from", name, "--chart", "c.svg", "--output", "o.csv")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {line}"), outcome.err
    assert outcome.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_column_of_the_user_s_own_stays_beside_new_rows(invoke: Invoke, tmp_path: Path) -> None:
    earlier, joined = tmp_path / "t.csv", tmp_path / "o.json"
    earlier.write_text(DENSITIES.replace("density", "density,note") + ROW.replace("0.1", "0.1,mine"))
    new = ("--pruner", "random", "--compression", "10")
    outcome = invoke("study", "layer-density", "--from", str(earlier), *FC, *new, "--output", str(joined))
    assert outcome.code == 0, outcome.err
    assert [row["note"] for row in json.loads(joined.read_text())] == ["mine", *[None] * 6]


def test_the_largest_relative_error_of_each_pruner_is_printed(invoke: Invoke) -> None:
    outcome = invoke("study", "layer-conservation", *FC, "--set", "pruning.prune_bias=true", "--json")
    lines = [line for line in outcome.err.splitlines() if line.startswith("largest relative error of ")]
    errors = {line.split()[4].rstrip(":"): float(line.split()[5]) for line in lines}
    assert list(errors) == ["random", "magnitude", "synflow"]
    for pruner, error in errors.items():
        own = [abs(row["relative_error"]) for row in json.loads(outcome.out) if row["pruner"] == pruner]
        assert error == pytest.approx(max(own), rel=0.01)


def test_an_existing_file_is_not_overwritten(invoke: Invoke, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("mine")
    outcome = invoke(*CUT, "--output", str(table))
    assert outcome.code == 2
    assert "exists; add --force" in outcome.err
    assert table.read_text() == "mine"
    assert invoke(*CUT, "--output", str(table), "--force").code == 0
    assert table.read_text() != "mine"


def test_a_plugin_file_provides_a_pruner(invoke: Invoke, tmp_path: Path) -> None:
    path = tmp_path / "study_mine.py"
    path.write_text(
        "from synflow_bench import Pruner, hookimpl\n"
        "class Mine(Pruner):\n"
        "    needs_data = False\n"
        "    def score(self, problem):\n"
        "        return {name: weight.abs() for name, weight in problem.parameters.items()}\n"
        "@hookimpl\n"
        "def synflow_bench_pruners():\n"
        "    return {'mine': Mine}\n"
    )
    chosen = ("--pruner", "mine", "--compression", "10", "--plugin", str(path))
    try:
        outcome = invoke("study", "layer-density", *FC, *chosen, "--json")
    finally:
        sys.modules.pop("study_mine", None)
    assert outcome.code == 0, outcome.err
    assert {row["pruner"] for row in json.loads(outcome.out)} == {"mine"}


PICKY = """
from synflow_bench import NotDefinedError, Pruner, hookimpl

class Picky(Pruner):
    needs_data = False
    least: float = 0.05

    def score(self, problem):
        if problem.density < self.least:
            raise NotDefinedError("too few weights are kept")
        return {name: p.abs() for name, p in problem.parameters.items()}

@hookimpl
def synflow_bench_pruners():
    return {"picky": Picky}
"""


@pytest.fixture
def picky(tmp_path: Path) -> Path:
    """A plugin with a pruner that is not defined below a density."""
    file = tmp_path / "picky.py"
    file.write_text(PICKY, encoding="utf-8")
    return file


@pytest.mark.parametrize("name", ["layer-density", "unit-conservation", "layer-conservation", "cut-ratio"])
def test_where_a_method_is_not_defined_a_study_leaves_it_out_with_a_line(
    name: str, invoke: Invoke, picky: Path
) -> None:
    rounds = ("--rounds", "1", "--schedule", "linear") if name == "cut-ratio" else ()
    outcome = invoke(
        *("study", name, *FC, "--plugin", str(picky), "--pruner", "picky", "--pruner", "magnitude"),
        *("--compression", "10", "--compression", "100", *rounds, "--json"),
    )
    assert outcome.code == 0, outcome.err
    found = {(row["pruner"], row["compression"]) for row in json.loads(outcome.out)}
    assert found == {("picky", 10), ("magnitude", 10), ("magnitude", 100)}
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("left out")]
    assert line.startswith("left out: picky at compression 100: not defined here")


def test_a_study_of_which_nothing_is_defined_is_one_line(invoke: Invoke, picky: Path) -> None:
    outcome = invoke(
        *("study", "layer-density", *FC, "--plugin", str(picky), "--pruner", "picky"),
        *("--compression", "100", "--json"),
    )
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.splitlines()[-1].startswith("error: layer-density has no row")


@pytest.mark.parametrize("name", ["layer-density", "unit-conservation", "cut-ratio"])
def test_a_method_that_changes_its_masks_in_training_is_left_out_with_a_line(
    name: str, invoke: Invoke
) -> None:
    methods = ("gmp", "rigl", "set", "edge-popup")
    chosen = [part for pruner in (*methods, "magnitude") for part in ("--pruner", pruner)]
    outcome = invoke("study", name, *FC, *chosen, "--rounds", "1", "--compression", "10", "--json")
    assert outcome.code == 0, outcome.err
    assert {row["pruner"] for row in json.loads(outcome.out)} == {"magnitude"}
    lines = [line for line in outcome.err.splitlines() if line.startswith("left out")]
    assert [line.split()[2] for line in lines] == list(methods)
    assert all("in training" in line for line in lines)


def test_a_study_that_trains_leaves_a_method_out_with_one_line_for_all_epochs(
    invoke: Invoke, picky: Path
) -> None:
    outcome = invoke(
        *("study", "imp-conservation", "--model", "fc", "--dataset", "digits", "--epochs", "1"),
        *("--plugin", str(picky), "--pruner", "picky[least=2]", "--pruner", "magnitude", "--json"),
    )
    assert outcome.code == 0, outcome.err
    assert {row["pruner"] for row in json.loads(outcome.out)} == {"magnitude"}
    assert outcome.err.count("left out: picky[least=2.0] at compression 1: not defined here") == 1
