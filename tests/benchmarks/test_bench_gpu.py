"""The benchmark for GPUs: every line of it runs here, on small networks."""

from __future__ import annotations

import bench_gpu
import pytest
import torch
from bench_gpu import (
    FULL,
    TEST,
    WAYS,
    Line,
    gradient_method,
    main,
    quicker_training,
    render,
    synflow,
    training,
    ways_for,
)
from conventional import grasp_masks, snip_masks

from synflow_bench import prune
from synflow_bench.host import Host

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _torch_as_it_was(torch_as_it_was: None, one_thread: None) -> None:
    """Cells are run in this process."""


@pytest.mark.parametrize(("name", "formula"), [("snip", snip_masks), ("grasp", grasp_masks)])
def test_the_formulas_keep_what_the_harness_keeps(name: str, formula: object) -> None:
    torch.manual_seed(0)
    model = Host.load().models.get("fc")((1, 8, 8), 10)
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    data = torch.randn(50, 1, 8, 8), torch.arange(50) % 10
    theirs = formula(model, names, *data, 10)  # type: ignore[operator]
    ours = prune(model, name, compression=10, input_shape=(1, 8, 8), data=data)
    differing = sum(int((ours[each] != theirs[each].bool()).sum()) for each in names)
    assert differing <= 0.01 * ours.kept


def test_without_a_cuda_device_it_says_why_it_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("skipped: torch finds no CUDA device here")


def test_prunings_and_steps_are_compared_on_the_device_that_is_named() -> None:
    lines = [synflow(TEST.second, TEST.second_image, TEST, CPU)]
    lines += [gradient_method(pruner, TEST, CPU) for pruner in ("snip", "grasp")]
    lines += [training(TEST, compression, CPU) for compression in (1.0, 100.0)]
    assert all(line.conventional > 0 and line.here > 0 for line in lines)


def test_a_dense_step_is_taken_in_every_way_that_the_device_has() -> None:
    dense = Line("training step, conv, compression 1", 2.0, 1.0)
    lines = quicker_training(TEST, dense, CPU)
    assert [line.what for line in lines] == [
        "training step, conv, bf16",
        "training step, conv, bf16, channels last",
    ]
    assert all(line.conventional == 2.0 and line.here > 0 for line in lines)


def test_cuda_graphs_are_for_cuda_devices() -> None:
    assert ways_for(FULL, torch.device("cuda")) == ways_for(TEST, torch.device("cuda")) == WAYS
    assert list(ways_for(FULL, CPU)) == ["bf16", "bf16, channels last", "compiled"]


@pytest.mark.slow
def test_a_dense_step_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_gpu, "ways_for", lambda *_: {"compiled": WAYS["compiled"]})
    (line,) = quicker_training(TEST, Line("", 1.0, 1.0), CPU)
    assert line.here > 0


def test_a_ratio_says_how_many_times_faster_it_is_here() -> None:
    dense, sparse = Line("training step, n, compression 1", 2.0, 2.0), Line("training step, n, x", 2.0, 0.5)
    assert (sparse.ratio, sparse.per_hour) == (4.0, 7200.0)
    assert render([dense, sparse]).splitlines()[-1] == "training step, n, x: 0.25 of a dense step"


def test_a_conventional_cell_runs() -> None:
    assert bench_gpu.conventional_cell("fc", TEST, CPU) > 0


@pytest.mark.slow
def test_the_whole_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cpu", "--size", "test"]) == 0
    out = capsys.readouterr().out
    for what in (
        "cell, fc",
        "cell, conv, bf16",
        "conv, bf16, channels last",
        "synflow, 3 rounds",
        "snip",
        "grasp",
        "compression 1000",
    ):
        assert what in out


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_it_runs_on_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "cuda", "--size", "test"]) == 0
