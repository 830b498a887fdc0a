"""A folder of images by `--dataset 'image-folder[path=DIR]'`: keys, records and boards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from synflow_bench.records import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 15 gray images of 8x8, dark and light."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 0), ("light", 128)):
        for index in range(15):
            path = tmp_path / "photos" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(level, level + 127, (8, 8), np.uint8)).save(path)
    return tmp_path / "photos"


def test_records_have_the_fingerprint_and_no_path_and_are_found_again_from_elsewhere(
    folder: Path, small: Callable[..., Any], results: Path
) -> None:
    options = "--model", "fc", "--set", "pruning.examples_per_class=5", "--json"
    first = small("--dataset", f"image-folder[path={folder},name=lights]", *options)
    assert first.code == 0, first.err
    records = list(Store(results))
    assert len(records) == 2
    for record in records:
        assert "path" not in record.cell.setting.dataset
        assert str(folder) not in record.to_json()
        assert record.cell.setting.dataset_label == "lights"
    assert {path.name for path in (results / "records").iterdir()} == {"lights"}
    moved = folder.rename(folder.with_name("moved"))
    again = small("--dataset", f"image-folder[name=lights,path={moved}]", *options)
    assert json.loads(again.out)["recorded"] == 2
    save = Image.fromarray(np.zeros((8, 8), np.uint8)).save
    save(moved / "dark" / "0.png")
    changed = small("--dataset", f"image-folder[name=lights,path={moved}]", *options)
    assert json.loads(changed.out)["ok"] == 2


@pytest.mark.parametrize("text", ["image-folder", "image-folder[path=nowhere]", "image-folder[path=.,a=1]"])
def test_a_folder_that_cannot_be_used_is_one_line(text: str, small: Callable[..., Any]) -> None:
    outcome = small("--dataset", text, "--model", "fc")
    assert (outcome.code, outcome.err.count("\n"), outcome.out) == (2, 1, "")


def test_a_measured_folder_is_checked_against_the_contract(
    folder: Path, tmp_path: Path, invoke: Callable[..., Any]
) -> None:
    outcome = invoke("check", f"image-folder[path={folder}]", "--data", str(tmp_path / "data"), "--json")
    (report,) = json.loads(outcome.out)
    assert report["passed"], outcome.out
    assert invoke("check", "image-folder").code == 2
