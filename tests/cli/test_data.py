"""`synflow-bench data`: the datasets, which of them are present, and how the others are downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.host import Host

Run = Callable[..., Any]

TOY = """
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
    """An empty folder that is the data folder by default."""
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("SYNFLOW_BENCH_DATA", str(root))
    return root


def listed(invoke: Run, *options: str) -> dict[str, dict[str, Any]]:
    outcome = invoke("data", "list", "--json", *options)
    assert outcome.code == 0
    return {row["name"]: row for row in json.loads(outcome.out)}


def test_every_dataset_is_listed_with_its_size_and_whether_it_is_present(invoke: Run) -> None:
    rows = listed(invoke)
    assert {"cifar10", "cifar100", "digits", "fashion-mnist", "mnist"} <= rows.keys()
    assert rows["digits"] == {
        "name": "digits",
        "input_shape": [1, 8, 8],
        "num_classes": 10,
        "sizes": [1438, 359],
        "present": True,
        "remedy": None,
    }
    assert not rows["mnist"]["present"]
    assert rows["mnist"]["remedy"] == "synflow-bench data download mnist"


def test_the_remedy_names_a_folder_that_is_not_the_default(tmp_path: Path, invoke: Run) -> None:
    other = tmp_path / "my data"
    remedy = listed(invoke, "--data", str(other))["cifar10"]["remedy"]
    assert remedy == f"synflow-bench data download cifar10 --data '{other}'"


def test_it_prints_a_table_and_one_command_for_all_that_is_missing(
    distribution: Any, root: Path, invoke: Run
) -> None:
    distribution("toy-data", TOY)
    outcome = invoke("data", "list")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["dataset", "shape", "classes", "train", "test", "present"]
    assert ["digits", "1x8x8", "10", "1438", "359", "yes"] in [line.split() for line in lines]
    assert ["toy", "1x2x2", "2", "2", "1", "no"] in [line.split() for line in lines]
    assert f"not in {root}" in lines[-2]
    assert "synflow-bench data download cifar10 cifar100 " in lines[-1]
    assert lines[-1].endswith(" mnist tiny-imagenet toy")
    by_hand = outcome.out.partition("\nimagenet: ")[2].partition("\n\n")[0]
    assert f"{root}/imagenet" in by_hand
    assert " imagenet " not in lines[-1]


def test_a_dataset_that_cannot_be_imported_costs_only_its_row(distribution: Any, invoke: Run) -> None:
    distribution(
        "broken-data",
        "@hookimpl\ndef synflow_bench_datasets():\n    return {'broken': 'nowhere.at_all:Data'}\n",
    )
    outcome = invoke("data", "list", "--json")
    assert outcome.code == 0
    assert "broken" not in {row["name"] for row in json.loads(outcome.out)}
    assert outcome.err.startswith("warning: ")
    assert "'broken'" in outcome.err


def test_a_present_dataset_is_read_and_counted(invoke: Run) -> None:
    outcome = invoke("data", "download", "digits")
    assert (outcome.code, outcome.out) == (0, "digits: present, 1438 training and 359 test images\n")


def test_a_missing_dataset_is_downloaded(distribution: Any, root: Path, invoke: Run) -> None:
    distribution("toy-data", TOY)
    outcome = invoke("data", "download", "toy")
    assert outcome.code == 0
    downloading, present = outcome.out.splitlines()
    assert str(root) in downloading
    assert "2 training and 1 test images" in present
    assert listed(invoke)["toy"]["present"]


def test_a_failed_download_does_not_stop_the_others(distribution: Any, root: Path, invoke: Run) -> None:
    distribution("toy-data", TOY)
    (root / "unreachable").touch()
    outcome = invoke("data", "download", "toy", "digits")
    assert outcome.code == 1
    assert outcome.err == "error: could not download 'toy': no network; try again\n"
    assert "1438 training" in outcome.out


def test_an_unknown_name_stops_before_anything_is_downloaded(invoke: Run) -> None:
    invoke("data", "download", "digits", "mnst").assert_refused("'mnst'", "'mnist'")


def test_a_download_without_a_name_is_a_usage_error(invoke: Run) -> None:
    invoke("data", "download").assert_refused("NAME")


def test_what_was_measured_is_listed_with_its_name_and_place(tmp_path: Path, invoke: Run) -> None:
    file = tmp_path / "sheep.txt"
    file.write_text("baa " * 500, encoding="utf-8")
    host = Host.load()
    root = tmp_path / "known"
    host.resolve_dataset(f"text[path={file}]", root)
    rows = listed(invoke, "--data", str(root))
    (name,) = (name for name in rows if name.startswith("text["))
    assert rows[name]["present"]
    assert host.resolve_dataset(name, root)[0] == name
    assert name in invoke("data", "list", "--data", str(root)).out
