"""The page about training loops does what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pages import DOCS, blocks

PAGE = DOCS / "how-to" / "train-with-masks.md"


def test_every_block_of_the_page_runs_and_every_network_stays_pruned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    code = [text for _, text in blocks(PAGE, "python")]
    assert len(code) == 4
    with torch.random.fork_rng(devices=[]):
        for text in code:
            exec(compile(text, str(PAGE), "exec", dont_inherit=True), names)  # noqa: S102
            masks, model = names["masks"], names["model"]
            weights = [model.get_parameter(name).detach() for name in masks]
            assert sum(int(weight.count_nonzero()) for weight in weights) == masks.kept < masks.size
    assert capsys.readouterr().out == "192 of 1920\n"
