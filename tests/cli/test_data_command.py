"""`synflow-bench data`: what is here, and how the rest is fetched."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.cli import main

Install = Callable[..., Path]

THIRD_PARTY = """
    from synflow_bench import Dataset, Split, Splits
    from synflow_bench.errors import DataError

    class Toy(Dataset):
        input_shape, num_classes, sizes, mean, std = (1, 2, 2), 2, (2, 1), (0.5,), (0.5,)

        def present(self, root):
            return (root / "toy").exists()

        def load(self, root, *, download=False):
            import torch

            if (root / "unreachable").exists():
                raise DataError("could not download 'toy': no network; try again")
            (root / "toy").touch()
            images, labels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)
            return Splits(Split(images[:2], labels[:2]), Split(images[2:], labels[2:]))

    @hookimpl
    def synflow_bench_datasets():
        return {"toy": Toy}
"""


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder that is the default."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("SYNFLOW_BENCH_DATA", str(root))
    return root


def rows(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, dict[str, Any]]:
    assert main(["data", "list", "--json", *options]) == 0
    return {row["name"]: row for row in json.loads(capsys.readouterr().out)}


def test_lists_what_each_data_set_is_and_whether_it_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    listed = rows(capsys)
    assert {"cifar10", "cifar100", "digits", "fashion-mnist", "mnist"} <= listed.keys()
    assert listed["digits"] == {
        "name": "digits",
        "input_shape": [1, 8, 8],
        "num_classes": 10,
        "sizes": [1438, 359],
        "present": True,
        "remedy": None,
    }
    assert not listed["mnist"]["present"]
    assert listed["mnist"]["remedy"] == "synflow-bench data download mnist"


def test_the_remedy_names_a_folder_that_is_not_the_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "my data"
    remedy = rows(capsys, "--data", str(other))["cifar10"]["remedy"]
    assert remedy == f"synflow-bench data download cifar10 --data '{other}'"


def test_prints_a_table_and_one_command_for_all_that_is_missing(
    distribution: Install, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distribution("toy-data", THIRD_PARTY)
    assert main(["data", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["data", "set", "shape", "classes", "train", "test", "here"]
    assert ["digits", "1x8x8", "10", "1438", "359", "yes"] in [line.split() for line in lines]
    assert ["toy", "1x2x2", "2", "2", "1", "no"] in [line.split() for line in lines]
    assert lines[-1].startswith(f"not in {root}; to fetch: synflow-bench data download cifar10 cifar100 ")
    assert lines[-1].endswith(" mnist tiny-imagenet toy")
    (by_hand,) = (line for line in lines if line.startswith("imagenet: "))
    assert by_hand.startswith(f"imagenet: it cannot be downloaded, and {root}/imagenet is not there; put ")


def test_a_data_set_that_does_not_import_costs_its_row_only(
    distribution: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    distribution(
        "broken-data",
        "@hookimpl\ndef synflow_bench_datasets():\n    return {'broken': 'nowhere.at_all:Data'}\n",
    )
    assert main(["data", "list", "--json"]) == 0
    captured = capsys.readouterr()
    assert "broken" not in {row["name"] for row in json.loads(captured.out)}
    assert "warning: " in captured.err
    assert "broken" in captured.err


def test_listing_imports_no_torch() -> None:
    code = """
import sys
from synflow_bench.cli import main
sys.exit(main(["data", "list"]) or "torch" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_is_here_is_read_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download", "digits"]) == 0
    assert capsys.readouterr().out == "digits: here, 1438 training and 359 test images\n"


def test_downloads_what_is_missing(
    distribution: Install, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distribution("toy-data", THIRD_PARTY)
    assert main(["data", "download", "toy"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"toy: downloading to {root}",
        "toy: here, 2 training and 1 test images",
    ]
    assert rows(capsys)["toy"]["present"]


def test_one_that_cannot_be_had_does_not_stop_the_others(
    distribution: Install, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    distribution("toy-data", THIRD_PARTY)
    (root / "unreachable").touch()
    assert main(["data", "download", "toy", "digits"]) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: could not download 'toy': no network; try again\n"
    assert captured.out.endswith("digits: here, 1438 training and 359 test images\n")


def test_an_unknown_name_is_told_before_anything_is_fetched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download", "digits", "mnst"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: unknown dataset 'mnst'; did you mean 'mnist'?\n"


def test_a_download_without_a_name_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "download"]) == 2
    assert "missing argument 'NAME...'" in capsys.readouterr().err
