"""The TensorBoard logger, read back with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def read(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (run,) = {file.parent for file in folder.rglob("events.*")}
    events = EventAccumulator(str(run))
    events.Reload()
    return run.relative_to(folder), events


def scalars(events: Any, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_a_cell_is_a_run_with_its_curves(log: Any, make_record: Any, tmp_path: Path) -> None:
    record = make_record("synflow[rounds=3]", 10, seed=2, top1=0.75)
    assert log(f"tensorboard={tmp_path}", record) == []
    run, events = read(tmp_path)
    assert run == Path("digits", "fc", "synflow[rounds=3]", "10", f"2-{record.key[:8]}")
    assert scalars(events, "epoch/test_top1") == [(0, pytest.approx(0.1)), (1, pytest.approx(0.75))]
    assert scalars(events, "epoch/lr") == [(0, pytest.approx(1e-3)), (1, pytest.approx(1e-3))]


def test_the_final_metrics_come_with_the_cell_as_hyperparameters(
    log: Any, make_record: Any, tmp_path: Path
) -> None:
    log(f"tensorboard={tmp_path}", make_record("snip", 10, seed=2, top1=0.75))
    _, events = read(tmp_path)
    assert scalars(events, "final/test_top1") == [(0, pytest.approx(0.75))]
    assert scalars(events, "final/compression") == [(0, pytest.approx(10))]
    assert "_hparams_/session_start_info" in events.summary_metadata


def test_a_failed_cell_has_its_message(log: Any, make_record: Any, tmp_path: Path) -> None:
    log(f"tensorboard={tmp_path}", make_record(status="failed", message="no such luck"))
    _, events = read(tmp_path)
    (text,) = events.Tensors("failed/text_summary")
    assert text.tensor_proto.string_val == [b"no such luck"]


def test_an_interrupted_cell_keeps_its_curves(log: Any, make_record: Any, tmp_path: Path) -> None:
    log(f"tensorboard={tmp_path}", unfinished=(make_record(top1=0.75),))
    _, events = read(tmp_path)
    assert len(scalars(events, "epoch/test_top1")) == 2


def test_missing_values_are_left_out(log: Any, make_record: Any, tmp_path: Path) -> None:
    record = make_record()
    diverged = record.curve[1].model_copy(update={"train_loss": None})
    log(f"tensorboard={tmp_path}", record.model_copy(update={"curve": (record.curve[0], diverged)}))
    _, events = read(tmp_path)
    assert [step for step, _ in scalars(events, "epoch/train_loss")] == [0]


def test_characters_that_are_unsafe_in_file_names_are_replaced(
    log: Any, make_record: Any, tmp_path: Path
) -> None:
    log(f"tensorboard={tmp_path}", make_record("snip", parameters={"note": "../,"}, ablation="shuffle"))
    run, _ = read(tmp_path)
    assert run.parts[2] == "snip[note=_.._u002c_]_(shuffle)"
