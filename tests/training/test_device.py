"""Devices by name, no tensor left behind on the CPU, and processes that keep the memory they free."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensorMode

from synflow_bench.data import Augmentation
from synflow_bench.errors import DeviceError
from synflow_bench.process import ProcessState
from synflow_bench.suites import Recipe
from synflow_bench.training import (
    Batch,
    MaskedWeights,
    Normalization,
    Precision,
    ResidentSplit,
    TrainingStep,
    build_optimizer,
    device,
    resolve_devices,
)
from synflow_bench.training import device as devices
from synflow_bench.training.data import augment
from synflow_bench.training.device import resolve_device


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    counts = {"cuda": 0, "mps": 0, "cpu": 1}
    monkeypatch.setattr(devices, "available", lambda: counts)
    return counts


def test_auto_takes_the_best_device_at_hand(pretend: dict[str, int]) -> None:
    assert resolve_device("auto") == torch.device("cpu")
    pretend["mps"] = 1
    assert resolve_device("auto") == torch.device("mps")
    pretend["cuda"] = 2
    assert resolve_device("auto") == torch.device("cuda")


def test_several_gpus_are_several_devices(pretend: dict[str, int]) -> None:
    pretend["cuda"] = 3
    assert [str(device) for device in resolve_devices("auto")] == ["cuda:0", "cuda:1", "cuda:2"]
    assert [str(device) for device in resolve_devices("cuda:1")] == ["cuda:1"]
    assert [str(device) for device in resolve_devices("cpu")] == ["cpu"]


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(pretend: dict[str, int], name: str) -> None:
    with pytest.raises(DeviceError, match=rf"device '{name}' is not on this machine; it has cpu"):
        resolve_device(name)


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(DeviceError, match="unknown device 'gpu0'; use auto, cpu, cuda"):
        resolve_device("gpu0")


def network(device: str) -> nn.Module:
    with torch.device(device):
        layers = (nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
        return nn.Sequential(*layers)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "rmsprop"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_training_step_runs_whole_on_the_meta_device(optimizer: str, precision: str) -> None:
    """The meta device refuses tensors of any other, and needs no accelerator."""
    recipe = Recipe(epochs=1, optimizer=optimizer, gradient_clip=1.0, label_smoothing=0.1, lr=0.1)
    model = network("meta")
    kept = torch.arange(36).view(4, 1, 3, 3) % 2 == 0
    step = TrainingStep(
        model,
        build_optimizer(recipe, model.parameters()),
        [MaskedWeights(model, {"0.weight": kept})],
        recipe,
        Precision("cpu", precision == "bf16", True),
    )
    inputs = torch.empty(8, 1, 4, 4, device="meta")
    (loss,) = step([Batch(inputs, torch.empty(8, dtype=torch.int64, device="meta"), lr=0.1)])
    assert loss.device.type == "meta"
    assert all(parameter.device.type == "meta" for parameter in model.parameters())


def test_batches_are_gathered_augmented_and_normalized_where_the_data_is() -> None:
    split = ResidentSplit(
        torch.empty(20, 1, 4, 4, dtype=torch.uint8, device="meta"),
        torch.empty(20, dtype=torch.int64, device="meta"),
        Normalization(torch.empty(1, 1, 1, device="meta"), torch.empty(1, 1, 1, device="meta")),
    )
    for inputs, labels in split.shuffled(8, torch.arange(20), Augmentation(1, True), torch.Generator()):
        assert inputs.device.type == labels.device.type == "meta"


def test_forward_and_augmentation_run_under_fake_cuda() -> None:
    with FakeTensorMode():
        images = torch.empty(6, 1, 4, 4, dtype=torch.uint8, device="cuda")
        scale = torch.empty(1, 1, 1, device="cuda")
        changed = augment(images, Augmentation(1, True), torch.Generator())
        logits = network("cuda")(Normalization(scale, scale)(changed))
    assert changed.device.type == "cuda"
    assert logits.device.type == "cuda"


STEPS = """
import resource
import torch
from synflow_bench.training.device import keep_freed_memory

torch.set_num_threads(1)
kept = {keep} and keep_freed_memory()

def step():
    return float(torch.arange(1 << 24, dtype=torch.float32).log1p_().sqrt().sum())  # two of 64 MiB

for _ in range(5):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
sums = [step() for _ in range(10)]
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *set(sums))
"""


def steps(*, keep: bool) -> tuple[bool, int, str]:
    """Whether memory was kept, the page faults of ten steps, and what came of them."""
    command = [sys.executable, "-c", STEPS.format(keep=keep)]
    kept, faults, *sums = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return kept == "True", int(faults), " ".join(sums)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_used_again_to_the_same_results() -> None:
    kept, few, result = steps(keep=True)
    _, many, same = steps(keep=False)
    assert kept
    assert few < many / 20
    assert result == same


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    assert not device.keep_freed_memory()


def test_a_process_on_another_device_keeps_its_allocator(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    monkeypatch.setattr(device, "make_repeatable", lambda *_: called.append("repeatable"))
    monkeypatch.setattr(device, "keep_freed_memory", lambda: called.append("memory"))
    device.set_up_process(torch.device("meta"), 1)
    assert called == ["repeatable"]
    device.set_up_process(torch.device("cpu"), 1)
    assert called == ["repeatable", "repeatable", "memory"]


def test_every_pool_gets_the_threads_of_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(variable, raising=False)
    environment = device.thread_environment(3)
    spins = environment.pop("GOMP_SPINCOUNT")
    assert int(spins) > 0
    assert environment == dict.fromkeys(["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"], "3")


@pytest.mark.parametrize("said", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_how_threads_wait_stays_as_somebody_has_said(monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    monkeypatch.setenv(said, "0")
    assert "GOMP_SPINCOUNT" not in device.thread_environment(2)


@pytest.mark.parametrize(("name", "chosen"), [("cuda", []), ("cuda:1", [1])])
def test_a_device_without_a_number_is_the_current_one(
    monkeypatch: pytest.MonkeyPatch, name: str, chosen: list[int]
) -> None:
    found: list[int] = []
    monkeypatch.setattr(
        torch.cuda, "set_device", lambda given: found.append(torch.cuda._utils._get_device_index(given))
    )
    with device.process_restored():
        device.make_repeatable(torch.device(name), torch.get_num_threads())
    assert found == chosen


def test_a_worker_rounds_no_inputs_and_sums_attention_in_a_fixed_order() -> None:
    """Some images set an environment variable by which torch starts with another precision."""
    with device.process_restored(), device.process_restored():
        torch.set_float32_matmul_precision("high")
        device.GpuAlgorithms().choose()
        assert torch.get_float32_matmul_precision() == "highest"
        backends = torch.backends.cuda
        assert [backends.flash_sdp_enabled(), backends.mem_efficient_sdp_enabled()] == [False, False]
        assert [backends.cudnn_sdp_enabled(), backends.math_sdp_enabled()] == [False, True]
    assert backends.flash_sdp_enabled()


def test_a_newer_switch_for_one_kind_of_device_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch raises where it is asked by the older name."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        assert device.GpuAlgorithms.of_process().matmul == "high"
        assert ProcessState().restore() == ()
    finally:
        matmul.fp32_precision = before


def test_a_process_that_has_not_used_a_gpu_does_not_start_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: pytest.fail("CUDA is started"))
    with device.process_restored():
        pass


def test_the_choices_of_a_worker_are_undone_in_a_users_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = device.GpuAlgorithms.of_process()
    filled = torch.utils.deterministic.fill_uninitialized_memory
    with device.process_restored():
        device.GpuAlgorithms().choose()
        assert device.GpuAlgorithms.of_process() == device.GpuAlgorithms()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not torch.utils.deterministic.fill_uninitialized_memory
    assert device.GpuAlgorithms.of_process() == before
    assert torch.utils.deterministic.fill_uninitialized_memory == filled
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_choices_are_named_for_gpus_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    assert device.algorithms(torch.device("cpu")) == {}
    assert device.algorithms(torch.device("cuda"))["cublas_workspace"] == ":16:8"


def test_copies_stay_on_the_cpu_where_there_is_no_gpu() -> None:
    tensor = torch.arange(3)
    assert device.to_device(tensor, torch.device("cpu")) is tensor
    assert device.free_memory(torch.device("cpu")) is None


def test_an_optimizer_on_a_gpu_may_be_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeTensorMode():
        model = network("cuda")
        for name in ("sgd", "momentum", "adam", "rmsprop"):
            optimizer = build_optimizer(Recipe(epochs=1, optimizer=name), model.parameters())
            assert all(group.get("capturable", True) for group in optimizer.param_groups)
