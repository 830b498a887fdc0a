"""Measured columns: size and speed of compact networks, beside a board and never part of its records."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest
import torch

import synflow_bench as sfb
from synflow_bench import measuring
from synflow_bench.errors import HandledError, UsageError
from synflow_bench.exporting import BATCHES
from synflow_bench.exporting.networks import smaller, with_masks
from synflow_bench.exporting.state_dict import state_file
from synflow_bench.host import Host
from synflow_bench.leaderboard import Leaderboard, render
from synflow_bench.leaderboard.measured import BATCHES as SHOWN_BATCHES
from synflow_bench.measuring import Measurement, Measuring
from synflow_bench.protocols import protocol
from synflow_bench.records import Store
from synflow_bench.recovery import Recovery

pytestmark = pytest.mark.usefixtures("torch_as_it_was")

NAMES = ["torch 1", "torch 64"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> sfb.Results:
    """Two seeds of two pruners, at a compression that leaves all units and at one that does not."""
    folder = tmp_path_factory.mktemp("measured") / "results"
    options: dict[str, Any] = {"compressions": [1.05, 50], "seeds": 2, "epochs": 0, "keep": ["masks"]}
    pruners, quiet = ["synflow", "snip"], {"executor": "serial", "progress": False}
    return sfb.run("quick", pruners=pruners, results=folder, **quiet, **options)


@pytest.fixture
def results(recorded: sfb.Results, tmp_path: Path) -> sfb.Results:
    """The same records and kept masks in a folder of their own."""
    unmeasured = ignore_patterns("measured")
    return sfb.load_results(copytree(recorded.path, tmp_path / "results", ignore=unmeasured))


@pytest.fixture(scope="module", autouse=True)
def is_fast(recorded: sfb.Results) -> Iterator[None]:
    """No onnxruntime, as few runs as possible, and an error where anything is trained."""

    def missing(_: str) -> None:
        raise UsageError("onnxruntime is not here")

    def refuse(*_: object) -> None:
        raise AssertionError("it trains")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "check_format", missing)
        patch.setattr(measuring, "SECONDS", 1e-6)
        patch.setattr(protocol, "train_batch", refuse)
        yield


@pytest.fixture(scope="module")
def board(recorded: sfb.Results, is_fast: None) -> Leaderboard:
    """The measured board."""
    return measuring_of(recorded).measure(recorded.leaderboard())


def measuring_of(results: sfb.Results, **options: Any) -> Measuring:
    return Measuring(Recovery(Host.load(), Store(results.path), results.path, may_train=False), **options)


@pytest.fixture
def measured_by(results: sfb.Results) -> Callable[..., Measuring]:
    return partial(measuring_of, results)


def points(board: Leaderboard, label: str) -> dict[float, Any]:
    row = next(row for row in board.boards[0].rows if row.label == label)
    return {point.compression: point.measured for point in row.points}


def test_networks_are_measured_once_and_records_stay_as_they_are(
    results: sfb.Results, measured_by: Callable[..., Measuring]
) -> None:
    before = {path: path.read_bytes() for path in Store(results.path).paths()}
    lines: list[str] = []
    plain = results.leaderboard()
    first = measured_by(report=lines.append).measure(plain)
    assert [line.partition(":")[0] for line in lines] == [f"measuring {n} of 4" for n in (1, 2, 3, 4)]
    again = measured_by(report=lines.append).measure(plain)
    assert len(lines) == 4
    assert again == first
    assert {path: path.read_bytes() for path in Store(results.path).paths()} == before
    assert {board.digest for board in first.boards} == {board.digest for board in plain.boards}
    assert points(first, "dense") == {1: None}


def test_measured_numbers_are_those_of_the_networks(board: Leaderboard, recorded: sfb.Results) -> None:
    found = points(board, "synflow")
    assert found[50].seeds == (0,)
    assert list(found[50].faster) == NAMES
    assert all(factor > 0 for factor in found[50].faster.values())
    assert found[1.05].faster == dict.fromkeys(NAMES, 1.0)
    assert found[1.05].file == 1.0
    model = Host.load().models.get("fc")((1, 8, 8), 10)
    record = next(r for r in recorded if r.cell.compression == 50 and r.cell.pruner.name == "synflow")
    network = with_masks(model, recorded.masks(record))
    small, share, _ = smaller(network, recorded.masks(record), torch.ones(2, 1, 8, 8))
    assert share < 0.5
    assert found[50].file == pytest.approx(len(state_file(network)) / len(state_file(small, network)))


def test_several_seeds_are_averaged(results: sfb.Results, measured_by: Callable[..., Measuring]) -> None:
    measuring_two = measured_by(seeds=2)
    found = points(measuring_two.measure(results.leaderboard()), "snip")[50]
    assert found.seeds == (0, 1)
    parts = [Measurement.model_validate_json(path.read_bytes()) for path in measuring_two.folder.iterdir()]
    ratios = [part.whole_bytes / part.compact_bytes for part in parts]
    assert any(found.file == pytest.approx((a + b) / 2) for a in ratios for b in ratios if a != b)


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv", "json", "html"])
def test_every_format_shows_numbers_machine_and_day(
    form: str, board: Leaderboard, recorded: sfb.Results
) -> None:
    text = " ".join(render(board, form).replace(r"\allowbreak{}", "").split())
    measured = points(board, "synflow")[50]
    names = {"csv": ["measured_torch_64", "measured_file"], "json": ["torch 64", "file"]}
    for name in names.get(form, ["torch 64", "speedup", "not part of any record"]):
        assert name in text
    value = str(measured.faster["torch 64"]) if form in names else f"{measured.file:.2f}"
    for fact in (measured.date, "torch 2", value):
        assert fact in text
    assert measured.date not in render(recorded.leaderboard(), form)


def test_a_network_that_cannot_be_measured_is_one_line_per_row(
    results: sfb.Results, measured_by: Callable[..., Measuring], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Recovery.recover

    def recover(self: Recovery, record: Any, **options: Any) -> Any:
        if record.cell.pruner.name == "snip":
            raise RuntimeError("the plugin\nis broken")
        return original(self, record, **options)

    monkeypatch.setattr(Recovery, "recover", recover)
    one = measured_by()
    board = one.measure(results.leaderboard())
    assert [re.sub(r"^.* / ", "", line) for line in one.problems] == [
        "snip: not measured at compression 1.05, 50 (RuntimeError: the plugin)"
    ]
    assert points(board, "snip") == {1.05: None, 50: None}
    assert points(board, "synflow")[50]
    assert "not measured at compression 1.05, 50" in render(board, "markdown")


def test_masks_that_were_not_kept_are_made_by_pruning_alone(
    results: sfb.Results, measured_by: Callable[..., Measuring], board: Leaderboard
) -> None:
    for path in results.path.rglob("*.masks.safetensors"):
        path.unlink()
    found = measured_by().measure(results.leaderboard())
    assert points(found, "snip")[50].file == points(board, "snip")[50].file


def test_masks_that_only_training_gives_are_not_made(
    results: sfb.Results, measured_by: Callable[..., Measuring], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(results[0].cell.setting.protocol), "trainings", lambda *_: [3, 5])
    for path in results.path.rglob("*.masks.safetensors"):
        path.unlink()
    one = measured_by()
    one.measure(results.leaderboard())
    assert len(one.problems) == 2
    assert all("training of 3 epochs" in line and "--keep masks" in line for line in one.problems)


def test_what_is_measured_before_an_interrupt_is_kept(
    results: sfb.Results, measured_by: Callable[..., Measuring]
) -> None:
    def interrupt(line: str) -> None:
        if "3 of 4" in line:
            raise KeyboardInterrupt

    one = measured_by(report=interrupt)
    with pytest.raises(KeyboardInterrupt):
        one.measure(results.leaderboard())
    assert [path.suffix for path in one.folder.iterdir()] == [".json", ".json"]


def test_a_damaged_file_is_named_and_stays(
    results: sfb.Results, measured_by: Callable[..., Measuring]
) -> None:
    one = measured_by()
    one.measure(results.leaderboard())
    path = min(one.folder.iterdir())
    path.write_text("{}")
    two = measured_by()
    two.measure(results.leaderboard())
    assert str(path) in two.problems[0]
    assert path.read_text() == "{}"


def test_another_machine_measures_for_itself(
    results: sfb.Results, measured_by: Callable[..., Measuring]
) -> None:
    lines: list[str] = []
    for machine in ("one", "one", "another"):
        measured_by(machine=machine, report=lines.append).measure(results.leaderboard())
    assert len(lines) == 8


def test_a_folder_that_cannot_be_written_ends_the_measurement(
    results: sfb.Results, measured_by: Callable[..., Measuring]
) -> None:
    one = measured_by()
    one.folder.write_text("a file")
    with pytest.raises(HandledError, match="measured"):
        one.measure(results.leaderboard())


def test_the_columns_are_the_measured_batches() -> None:
    assert BATCHES == SHOWN_BATCHES


def test_the_command_adds_the_table(results: sfb.Results, invoke: Any, tmp_path: Path) -> None:
    place = ("leaderboard", "--results", str(results.path))
    shown = invoke(*place, "--measure")
    assert shown.code == 0, shown.err
    assert "torch 64" in shown.out
    assert shown.err.count("measuring ") == 4
    assert "torch 64" not in invoke(*place).out
    (board,) = json.loads(invoke(*place, "--measure", "2", "--format", "json").out)
    row = next(row for row in board["rows"] if row["label"] == "snip")
    assert row["points"][1]["measured"]["seeds"] == [0, 1]
    for other in (["--check", "b.md"], ["--columns", "50"], ["--format", "csv", "--per-seed"], ["--explain"]):
        invoke(*place, "--measure", *other).assert_refused("--measure")
    (tmp_path / "plugin.py").touch()
    for option, value in (("--data", tmp_path), ("--plugin", tmp_path / "plugin.py")):
        invoke(*place, option, str(value)).assert_refused(option)
    invoke(*place, "--measure", "0").assert_refused("0")
