"""`synflow-bench bench` and `profile` as they are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from synflow_bench.cli import main

QUICK = ["bench", "--quick", "--model", "fc", "--dataset", "digits", "--device", "cpu", "--pruner", "random"]


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was: None) -> None:
    """Both commands set threads."""


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from synflow_bench.cli import _bench
    from synflow_bench.speed import Patience

    monkeypatch.setattr(_bench, "BRIEF", Patience(0.03))
    return iter(())


def test_it_prints_networks_and_suites_and_a_dry_run_estimates_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert main([*QUICK, *data]) == 0
    out = capsys.readouterr().out
    assert "train/s" in out
    assert "quick" in out
    assert "kept in" in out
    dry = ["run", "--pruner", "random", "--dry-run", "--device", "cpu", "--results", str(tmp_path / "r")]
    assert main([*dry, *data, "--json"]) == 0
    (estimate,) = json.loads(capsys.readouterr().out)["estimates"]
    assert estimate["source"].startswith("from `synflow-bench bench` of 2")
    assert estimate["seconds_per_cell"] > 0


def test_as_json_it_is_one_object_alone_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--json", "--no-keep", "--data", str(tmp_path / "data")]) == 0
    out = json.loads(capsys.readouterr().out)
    assert [each["workload"]["model"]["name"] for each in out["networks"]] == ["fc"]
    assert out["kept"] is None
    assert {suite["name"]: suite["known"] == suite["cells"] for suite in out["suites"]}["quick"]
    assert not (tmp_path / "data").exists()


def test_a_form_that_no_suite_has_gets_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--model",
        "conv",
        "--dataset",
        "digits",
        "--quick",
        "--pruner",
        "random",
        "--json",
        "--no-keep",
    ]
    assert main(["bench", *options, "--device", "cpu", "--data", str(tmp_path)]) == 0
    (network,) = json.loads(capsys.readouterr().out)["networks"]
    assert network["workload"]["input_shape"] == [1, 8, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "fcc"], "unknown model 'fcc'; did you mean 'fc'?"),
        (["--dataset", "digit"], "unknown dataset 'digit'; did you mean 'digits'?"),
        (["--pruner", "snap"], "unknown pruner 'snap'"),
        (["--device", "cuda:99"], "device 'cuda:99' is not on this machine"),
        (["--device", "tpuu"], "unknown device 'tpuu'"),
        (["--model", "imagenet/resnet50"], "no suite has model 'imagenet/resnet50'; say on which"),
        (["--dataset", "mnist"], "no suite has a network on mnist; name one with --model"),
        (["--model", "fc", "--model", "fc"], "named twice"),
    ],
)
def test_what_cannot_be_measured_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", *options, "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main([*QUICK, "--data", str(tmp_path / "file" / "data")]) == 2
    captured = capsys.readouterr()
    assert "choose another folder with --data, or add --no-keep" in captured.err
    assert captured.err.count("\n") == 1


def test_a_damaged_file_is_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "speed.json").write_text("{")
    assert main([*QUICK, "--data", str(tmp_path)]) == 0
    assert "writes it anew" in capsys.readouterr().err
    assert json.loads((tmp_path / "speed.json").read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dataset", "digit"], "did you mean 'digits'?"),
        (["--model", "fcc"], "did you mean 'fc'?"),
        (["--dataset", "cifar10"], "data set 'cifar10' is not in"),
        (["--device", "cuda:99"], "is not on this machine"),
    ],
)
def test_what_cannot_be_profiled_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", *options, "--data", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_profile_adds_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", "--epochs", "1", "--device", "cpu", "--data", str(tmp_path), "--json"]) == 0
    profile = json.loads(capsys.readouterr().out)
    assert profile["sum"] == pytest.approx(sum(row["seconds"] for row in profile["rows"]))
    assert 0.9 * profile["total"] < profile["sum"] <= profile["total"]
