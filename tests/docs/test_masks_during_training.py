"""The example of the page about masks that change during training keeps every rule and runs."""

from __future__ import annotations

from pathlib import Path

import torch
from pages import DOCS, files

from synflow_bench.host import Host, PluginFile
from synflow_bench.protocols import WorkerContext, run_cell
from synflow_bench.suites import Cell, PrunerSpec, Setting
from synflow_bench.testing import check_pruner

PAGE = DOCS / "how-to" / "masks-during-training.md"


def test_the_example_keeps_the_rules_and_moves_weights_at_equal_density(tmp_path: Path) -> None:
    ((name, text),) = files(PAGE, "python").items()
    (tmp_path / name).write_text(text, encoding="utf-8")
    host = Host.load(files=[PluginFile.read(tmp_path / name)])
    failures = {finding.rule: finding.reason for finding in check_pruner("wander", host=host).failures}
    assert failures == {}
    setting = {"dataset": "digits", "model": "fc", "recipe": {"epochs": 1, "optimizer": "adam", "lr": 0.01}}
    found = []
    for pruner in ("wander", "wander[every=2,until=0.3]"):
        cell = Cell(
            setting=Setting.model_validate(setting),
            pruner=PrunerSpec.model_validate(pruner),
            compression=5.0,
            seed=0,
        )
        record = run_cell(cell, WorkerContext(host, tmp_path, torch.device("cpu"), threads=1))
        assert record.metrics is not None
        assert round(record.metrics.compression) == 5
        found.append(record.masks)
    assert len(set(found)) == 2
