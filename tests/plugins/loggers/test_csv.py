"""The CSV logger: two files in a common format, to which later runs append."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.records import Epoch, Metrics


def read(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_writes_one_line_per_epoch(log: Any, make_record: Any, tmp_path: Path) -> None:
    record = make_record("synflow[rounds=3]", 10, seed=2, top1=0.75)
    assert log(f"csv={tmp_path}", record) == []
    before, after = read(tmp_path / "epochs.csv")
    assert (before["epoch"], after["epoch"]) == ("0", "1")
    assert (float(before["test_top1"]), float(after["test_top1"])) == (0.1, 0.75)
    wanted = {"key": record.key, "dataset": "digits", "model": "fc", "row": "synflow[rounds=3]", "seed": "2"}
    assert wanted.items() <= after.items()
    assert float(after["target_compression"]) == 10


def test_writes_one_line_per_cell_with_all_metrics(log: Any, make_record: Any, tmp_path: Path) -> None:
    record = make_record("snip", 10, top1=0.75, compression_all=9.5, collapsed_layers=("a", "b"))
    log(f"csv={tmp_path}", record)
    (line,) = read(tmp_path / "cells.csv")
    assert set(Metrics.model_fields) <= line.keys()
    assert (float(line["test_top1"]), float(line["compression_all"])) == (0.75, 9.5)
    assert float(line["collapsed_layers"]) == 2
    assert float(line["total_seconds"]) == record.timing.total_seconds
    assert (line["status"], line["error"], line["effective_compression"]) == ("ok", "", "")


def test_any_message_of_a_failed_cell_can_be_read_back(log: Any, make_record: Any, tmp_path: Path) -> None:
    message = 'a comma, a "quote"\nand a line'
    log(f"csv={tmp_path}", make_record(status="failed", message=message))
    (line,) = read(tmp_path / "cells.csv")
    assert (line["status"], line["error"], line["test_top1"]) == ("failed", message, "")
    assert read(tmp_path / "epochs.csv") == []


def test_later_runs_append_to_the_files(log: Any, make_record: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        log(f"csv={tmp_path}", make_record(seed=seed))
    assert [line["seed"] for line in read(tmp_path / "cells.csv")] == ["0", "1"]
    assert [line["epoch"] for line in read(tmp_path / "epochs.csv")] == ["0", "1"] * 2


def test_epochs_of_an_interrupted_run_are_kept(log: Any, make_record: Any, tmp_path: Path) -> None:
    log(f"csv={tmp_path}", unfinished=(make_record(),))
    assert len(read(tmp_path / "epochs.csv")) == 2
    assert read(tmp_path / "cells.csv") == []


def test_by_default_it_writes_below_the_results(log: Any, make_record: Any, results: Path) -> None:
    log("csv", make_record())
    assert len(read(results / "logs" / "csv" / "cells.csv")) == 1


def test_columns_are_unique(log: Any, tmp_path: Path) -> None:
    log(f"csv={tmp_path}")
    for name in ("cells.csv", "epochs.csv"):
        columns = (tmp_path / name).read_text().strip().split(",")
        assert len(columns) == len(set(columns))
    assert columns[-len(Epoch.model_fields) :] == list(Epoch.model_fields)


def test_a_file_with_other_columns_is_refused_and_not_changed(log: Any, tmp_path: Path) -> None:
    (tmp_path / "cells.csv").write_text("mine,own\n1,2\n")
    with pytest.raises(UsageError, match=r"cells.csv' has other columns \(mine, own\)"):
        log(f"csv={tmp_path}")
    assert (tmp_path / "cells.csv").read_text() == "mine,own\n1,2\n"
