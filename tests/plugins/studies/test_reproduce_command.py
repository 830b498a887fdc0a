"""`reproduce`: from records to a table and a chart with notes below its title."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from math import log10
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.execution import cells_of, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.records import Layer, Store, key_of
from synflow_bench.suites import Cell, override
from synflow_bench_studies.catalogue import FIGURES, Scale

Invoke = Callable[..., Any]
Keep = Callable[[Iterable[Cell]], None]

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

LAST = {"random": 1.5, "magnitude": 0.0, "snip": 2.0, "grasp": 1.5, "synflow": 9.0}
"""Decades of compression up to which the made-up records have no empty layer."""


def cells(figure: str, scale: Scale, datasets: Sequence[str] = (), models: Sequence[str] = ()) -> list[Cell]:
    """The cells of a figure, of all datasets and networks or of those that are named."""
    host, found = Host.load(), FIGURES[figure]
    suite = override(host.suites.get(found.suites[scale]), **found.options[scale])
    return [
        cell
        for cell in cells_of(suite, resolve_pruners(suite.pruners, host), host)
        if cell.setting.dataset in (datasets or [cell.setting.dataset])
        if cell.setting.model.name in (models or [cell.setting.model.name])
    ]


def beside_an_empty_one(layer: Layer) -> tuple[Layer, Layer]:
    """Two layers with as many weights as `layer`, the second one empty."""
    small = layer.model_copy(update={"name": "fc2", "shape": (1, 780), "size": 780, "kept": 0})
    return layer.model_copy(update={"size": layer.size - small.size}), small


@pytest.fixture
def keep(results: Path, make_record: Callable[..., Any]) -> Keep:
    """Store made-up records of cells: without any path, and with empty layers as in `LAST`."""

    def keep(cells: Iterable[Cell]) -> None:
        store = Store(results)
        for cell in cells:
            plain = make_record(cell.pruner.name, cell.compression, collapsed_layers=("fc1",))
            empty = log10(cell.compression) > LAST.get(cell.pruner.name, 9.0) + 0.01
            layers = beside_an_empty_one(*plain.layers) if empty else plain.layers
            store.put(plain.model_copy(update={"key": key_of(cell), "cell": cell, "layers": layers}))

    return keep


@pytest.fixture
def reproduce(invoke: Invoke, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """`reproduce` with these records into a table and a chart, with the embedded digits as only dataset."""
    monkeypatch.setattr(Host.load().datasets.get("fashion-mnist"), "elsewhere", None)

    def reproduce(*arguments: str) -> Any:
        files = ("--output", str(tmp_path / "t.csv"), "--chart", str(tmp_path / "c.svg"), "--force")
        where = ("--results", str(results), "--data", str(tmp_path / "data"), "--executor", "serial")
        return invoke("reproduce", *arguments, *where, *files, "--json")

    return reproduce


@pytest.fixture
def _nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> None:
        pytest.fail("a cell ran")

    monkeypatch.setattr("synflow_bench_studies.figures.run_with_progress", run)


@pytest.mark.usefixtures("_nothing_runs")
def test_figure_1_at_the_paper_s_scale_has_published_points_and_notes_on_them(
    keep: Keep, reproduce: Invoke, tmp_path: Path
) -> None:
    keep(cells("fig1", "paper"))
    outcome = reproduce("fig1")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    published = [row for row in rows if row["source"] == "published"]
    assert {row["metric"] for row in published} == {"max_test"}
    assert {row["pruner"] for row in published if row["suspect"]} == {"grasp"}
    assert {(row["dataset"], row["model"]) for row in published} == {("cifar100", "lottery/vgg16-bn")}
    chart = (tmp_path / "c.svg").read_text()
    assert "published accuracy is max_test" in chart
    assert "grasp is suspect" in chart
    assert "0.5 decades apart, published ones 0.25" in chart
    assert "with an empty layer at every ratio drawn: magnitude" in chart
    assert "without an empty layer at any ratio drawn: synflow" in chart
    assert "scale small" not in chart
    assert "not drawn" not in chart


@pytest.mark.usefixtures("_nothing_runs")
def test_wide_networks_have_no_published_points_as_those_were_of_others(
    keep: Keep, reproduce: Invoke, tmp_path: Path
) -> None:
    narrow, wide = "tinyimagenet/resnet18", "tinyimagenet/wide-resnet18"
    of_resnets = cells("fig6", "paper", datasets=("cifar10",), models=(narrow, wide))
    keep(cell for cell in of_resnets if cell.seed == 0)
    outcome = reproduce("fig6")
    rows = json.loads(outcome.out)
    assert {row["model"] for row in rows if row["source"] == "ours"} == {narrow, wide}
    published = [row for row in rows if row["source"] == "published"]
    assert {row["model"] for row in published} == {narrow}
    assert len(published) == 5 * 13
    chart = (tmp_path / "c.svg").read_text()
    assert f"left out: results published as {wide};" in chart
    assert outcome.code == 1
    assert "not drawn: cifar10 / lottery/vgg11-bn, " in chart
    assert "final-epoch accuracy, mean of 1 seed;" in chart
    assert f"122 of 183 cells of cifar10 / {narrow}" in chart


@pytest.mark.usefixtures("_nothing_runs")
@pytest.mark.parametrize("figure", ["fig1", "fig6"])
def test_scale_small_is_noted_and_has_no_published_points(
    figure: str, keep: Keep, reproduce: Invoke, tmp_path: Path
) -> None:
    keep(cells(figure, "small"))
    outcome = reproduce(figure, "--scale", "small")
    assert outcome.code == 0, outcome.err
    assert {row["source"] for row in json.loads(outcome.out)} == {"ours"}
    chart = (tmp_path / "c.svg").read_text()
    assert f"scale small: the form of {figure}," in chart
    assert "published" not in chart
    assert "warning" not in outcome.err


def test_missing_cells_are_run_once_and_an_incomplete_figure_exits_with_1(
    keep: Keep, reproduce: Invoke, results: Path, tmp_path: Path
) -> None:
    """The digits are there and Fashion-MNIST is not: one cell is run, 42 are skipped each time."""
    of_digits = cells("fig6", "small", datasets=("digits",))
    assert of_digits[0].pruner.name == "dense"
    keep(of_digits[1:])
    for _ in range(2):
        outcome = reproduce("fig6", "--scale", "small")
        assert outcome.code == 1
        assert "warning: not drawn: fashion-mnist / fc\n" in outcome.err
        assert "not drawn: fashion-mnist / fc" in (tmp_path / "c.svg").read_text()
        assert len(json.loads(outcome.out)) == len(of_digits) == len(Store(results).paths())
    assert "1/1 cells" not in outcome.err
    keep(cells("fig6", "small", datasets=("fashion-mnist",)))
    assert reproduce("fig6", "--scale", "small").code == 0


def test_dense_networks_alone_make_no_figure(keep: Keep, reproduce: Invoke, tmp_path: Path) -> None:
    keep(cell for cell in cells("fig1", "small") if cell.pruner.name == "dense")
    outcome = reproduce("fig1", "--scale", "small")
    assert (outcome.code, outcome.out) == (2, "")
    assert "no pruned cell of fig1" in outcome.err
    assert not (tmp_path / "c.svg").exists()


@pytest.mark.usefixtures("_nothing_runs")
def test_a_forecast_in_json_is_that_of_run(keep: Keep, invoke: Invoke, results: Path, tmp_path: Path) -> None:
    keep(cells("fig1", "small"))
    where = ("--results", str(results), "--data", str(tmp_path))
    outcome = invoke("reproduce", "fig1", "--scale", "small", "--dry-run", "--json", *where)
    assert outcome.code == 0
    forecast = json.loads(outcome.out)
    assert {cell["status"] for cell in forecast["cells"]} == {"ok"}
    assert forecast["estimates"] == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["fig4", "--workers", "4", "--executor", "nonesuch", "--results", "zzz"],
            "fig4 is a study and runs no cells, so --executor, --workers and --results",
        ),
        (["fig8"], "unknown figure 'fig8'"),
        (["fig7", "--dry-run"], "fig7 is a study and runs no cells; leave out --dry-run"),
        (["fig1", "--dry-run", "--chart", "c.svg"], "--dry-run draws nothing, so --chart"),
        (
            ["fig1", "--dry-run", "--output", "t.csv", "--force"],
            "--dry-run draws nothing, so --output and --force",
        ),
    ],
)
def test_options_without_effect_are_refused_in_one_line(
    arguments: list[str], line: str, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke("reproduce", *arguments, "--scale", "small")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith(f"error: {line}"), outcome.err
    assert outcome.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("figure", "dataset"),
    [("fig1", "cifar100"), ("fig2", "imagenet"), ("fig5a", "cifar10"), ("fig5b", "cifar10")],
)
def test_a_missing_dataset_is_one_line_with_the_way_to_get_it(
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


@pytest.mark.slow
def test_a_study_s_figure_at_scale_small(invoke: Invoke, tmp_path: Path) -> None:
    chart = tmp_path / "c.svg"
    outcome = invoke("reproduce", "fig7", "--scale", "small", "--chart", str(chart), "--json")
    assert outcome.code == 0, outcome.err
    rows = json.loads(outcome.out)
    assert len(rows) == 2 * 3 * 5
    assert {row["rounds"] for row in rows} == {1, 3, 10, 32, 100}
    assert "scale small: the form of fig7" in chart.read_text()
