"""`study` and `reproduce`: files whole or not at all, rows on stdout alone, and bad input in one line."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.host import Host
from synflow_bench.studies import FIGURES, STUDIES, read_table
from synflow_bench.suites import Singleshot

Invoke = Callable[..., Any]

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

FIGURES_DRAWN = Path(__file__).parents[2] / "docs" / "figures"
FC = ("--model", "fc", "--input-shape", "1x8x8")
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


def test_tables_of_all_formats_say_the_same_and_charts_are_what_they_are_called(
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
        (["study", "cut-ratio"], "name a network with --model, such as"),
        (["study", "cut-ratio", "--model", "fc"], "name a data set with --dataset or a shape"),
        (["study", "cut-ratio", *FC, "--dataset", "digits"], "a data set has its own shape and classes"),
        (["study", "cut-ratio", *FC, "--pruner", "snip"], "pruner 'snip' scores with data; name a data set"),
        (["study", "cut-ratio", *FC, "--pruner", "snp"], "unknown pruner 'snp'; did you mean 'snip'?"),
        (["study", "cut-ratio", "--model", "fcc", "--input-shape", "1x8x8"], "unknown model 'fcc'"),
        (["study", "cut-ratio", "--model", "fc", "--input-shape", "8"], "invalid value for '--input-shape'"),
        (["study", "cut-ratio", *FC, "--compression", "0.5"], "compression 0.5 is not a number from 1 on"),
        (["study", "cut-ratio", *FC, "--epochs", "3"], "cut-ratio trains nothing; leave out --epochs"),
        (["study", "imp-conservation", *FC], "imp-conservation trains; name a data set with --dataset"),
        (["study", "cut-ratio", *FC, "--output", "x.txt"], "no table has the suffix of 'x.txt'"),
        (["study", "cut-ratio", *FC, "--chart", "x.gif"], "no chart has the suffix of 'x.gif'"),
        (["study", "cut-ratio", *FC, "--force"], "--force has no effect without --output or --chart"),
        (["study", "cut-ratio", "--from", "nowhere.csv"], "cannot read table 'nowhere.csv'"),
        (["study", "cut-ratio", *FC, "--from", "nowhere.csv"], "cannot read table 'nowhere.csv'"),
        (
            ["study", "cut-ratio", "--from", "t.csv", "--pruner", "snp", "--rounds", "9"],
            "--from alone computes nothing, so --pruner and --rounds have no effect; leave them out, or name",
        ),
        (
            ["study", "cut-ratio", "--from", "t.csv", "--dataset", "digits"],
            "--from alone computes nothing, so --dataset has no effect; leave it out, or name a network",
        ),
        (["reproduce", "fig8"], "unknown figure 'fig8'; did you mean 'fig"),
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
            "'t.csv' is no table of cut-ratio: row 1 lacks rounds_with_flow, cut_ratio; "
            "it is one of layer-density",
        ),
        (
            "cut-ratio",
            "t.json",
            '[{"a": 1}]',
            "'t.json' is no table of cut-ratio: row 1 lacks dataset, model, seed, pruner, rounds, schedule, "
            "compression, rounds_with_flow, cut_ratio; make one with `synflow-bench study cut-ratio`",
        ),
        ("cut-ratio", "t.json", "[]", "table 't.json' has no rows; leave it out"),
        ("cut-ratio", "t.csv", "", "table 't.csv' has no rows; leave it out"),
        ("layer-density", "t.csv", DENSITIES, "table 't.csv' has no rows; leave it out"),
        ("cut-ratio", "t.json", '{"a": 1}', "cannot read table 't.json': it is no JSON list of objects"),
        ("cut-ratio", "t.json", "[1, 2]", "cannot read table 't.json': it is no JSON list of objects"),
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
            "'t.csv' is no table of layer-density: in row 2, density is 'most', not a number; mend or",
        ),
        (
            "layer-density",
            "t.csv",
            DENSITIES + ROW.replace("0.1", ""),
            "'t.csv' is no table of layer-density: in row 1, density is None, not a number",
        ),
        (
            "layer-density",
            "t.csv",
            DENSITIES + ROW.replace("6400", "0"),
            "'t.csv' is no table of layer-density: in row 1, size is 0, and no layer is without weights",
        ),
    ],
)
def test_what_is_no_table_of_the_study_is_refused_in_one_line(
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


def test_the_tables_of_the_figures_are_tables_of_their_studies() -> None:
    for path in FIGURES_DRAWN.glob("fig*.csv"):
        name = FIGURES[path.stem.partition("-")[0]].study
        assert name is None or STUDIES[name].read(path)


def test_a_column_of_the_user_s_own_stays_beside_new_rows(invoke: Invoke, tmp_path: Path) -> None:
    earlier, joined = tmp_path / "t.csv", tmp_path / "o.json"
    earlier.write_text(DENSITIES.replace("density", "density,note") + ROW.replace("0.1", "0.1,mine"))
    new = ("--pruner", "random", "--compression", "10")
    outcome = invoke("study", "layer-density", "--from", str(earlier), *FC, *new, "--output", str(joined))
    assert outcome.code == 0, outcome.err
    assert [row["note"] for row in json.loads(joined.read_text())] == ["mine", *[None] * 6]


def test_relative_errors_are_said_of_each_pruner(invoke: Invoke) -> None:
    outcome = invoke("study", "layer-conservation", *FC, "--set", "pruning.prune_bias=true", "--json")
    said = [line for line in outcome.err.splitlines() if line.startswith("largest relative error of ")]
    errors = {line.split()[4].rstrip(":"): float(line.split()[5]) for line in said}
    assert list(errors) == ["random", "magnitude", "synflow"]
    for pruner, error in errors.items():
        own = [abs(row["relative_error"]) for row in json.loads(outcome.out) if row["pruner"] == pruner]
        assert error == pytest.approx(max(own), rel=0.01)


def test_an_existing_file_is_not_written_over(invoke: Invoke, tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("mine")
    outcome = invoke(*CUT, "--output", str(table))
    assert outcome.code == 2
    assert "exists; add --force to write over it" in outcome.err
    assert table.read_text() == "mine"
    assert invoke(*CUT, "--output", str(table), "--force").code == 0
    assert table.read_text() != "mine"


@pytest.mark.parametrize(
    ("figure", "dataset"),
    [("fig1", "cifar100"), ("fig2", "imagenet"), ("fig5a", "cifar10"), ("fig5b", "cifar10")],
)
def test_a_missing_data_set_is_one_line_with_the_way_to_get_it(
    figure: str, dataset: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke("reproduce", figure, "--data", str(tmp_path / "data"))
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert dataset in outcome.err
    assert "synflow-bench data download" in outcome.err or "imagenet" in outcome.err
    assert not list(tmp_path.glob("*.*"))


def test_the_catalogue_names_what_is_installed() -> None:
    host = Host.load()
    for study in STUDIES.values():
        assert set(study.pruners) <= set(host.pruners.names())
    for figure in FIGURES.values():
        assert set(figure.options) == {"paper", "small"}
        for options in figure.options.values():
            assert set(options.get("models", ())) <= set(host.models.names())
            assert set(options.get("datasets", ())) <= set(host.datasets.names())
        for suite in figure.suites.values():
            assert host.suites.get(suite).settings


def test_the_paper_s_suite_has_its_twelve_settings() -> None:
    suite = Host.load().suites.get("synflow-2020")
    assert len(suite.settings) == 12
    assert len(suite.seeds) == 3
    assert suite.compressions == pytest.approx([10 ** (n / 4) for n in range(13)], rel=1e-4)
    assert all(isinstance(setting.protocol, Singleshot) for setting in suite.settings)
    recipes = {
        (s.dataset, s.model.name.split("/")[1].rstrip("-bn0123456789")): s.recipe for s in suite.settings
    }
    assert (recipes["cifar10", "vgg"].lr, recipes["cifar10", "vgg"].gamma) == (0.1, 0.1)
    assert (recipes["cifar100", "resnet"].lr, recipes["cifar100", "resnet"].weight_decay) == (0.01, 5e-4)
    assert recipes["tiny-imagenet", "wide-resnet"].milestones == (30, 60, 80)
    assert recipes["tiny-imagenet", "vgg"].epochs == 100
