"""The state of a process is restored after code that changes it, and replaced functions are found."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from synflow_bench.process import ProcessState, SharedCode


def set_limit(change: Callable[[int, int], tuple[int, int]]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, change(*resource.getrlimit(resource.RLIMIT_NOFILE)))


CHANGES: dict[str, Callable[[], Any]] = {
    "environment variables": lambda: os.environ.update(A_VARIABLE="1"),
    "resource limits": lambda: set_limit(lambda soft, hard: (soft - 1, hard)),
    "the CPU affinity": lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}),
    "the signal mask": lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}),
    "the working folder": lambda: os.chdir("/"),
    "the umask": lambda: os.umask(0o077),
    "the filters of warnings": lambda: warnings.simplefilter("ignore"),
    "the standard streams": lambda: setattr(sys, "stdin", None),
    "the recursion limit": lambda: sys.setrecursionlimit(777),
    "signal handlers": lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
    "torch.set_num_threads": lambda: torch.set_num_threads(torch.get_num_threads() + 3),
    "torch.set_default_dtype": lambda: torch.set_default_dtype(torch.float64),
    "modes of torch functions": lambda: torch.set_default_device("meta"),
    "autocast": lambda: torch.autocast("cpu").__enter__(),
    "the recording of gradients": lambda: torch.set_grad_enabled(False),
    "torch.use_deterministic_algorithms": lambda: torch.use_deterministic_algorithms(True),
    "the flags of cuDNN": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "TF32 in cuDNN": lambda: setattr(torch.backends.cudnn, "allow_tf32", not torch.backends.cudnn.allow_tf32),
    "the kernels of attention": lambda: torch.backends.cuda.enable_flash_sdp(False),
    "torch.set_float32_matmul_precision": lambda: torch.set_float32_matmul_precision("medium"),
    "torch.set_flush_denormal": lambda: torch.set_flush_denormal(True),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "hooks of all modules or optimizers": lambda: register_module_forward_hook(lambda *_: None),
}
if len(os.sched_getaffinity(0)) == 1:
    del CHANGES["the CPU affinity"]


@pytest.fixture(autouse=True)
def _everything_kept() -> Iterator[None]:
    with ProcessState.kept():
        yield


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_is_named_and_undone(name: str) -> None:
    state = ProcessState()
    assert state.restore() == ()
    CHANGES[name]()
    assert name in state.restore()
    assert state.restore() == ()


def printed_by_a_child(name: str) -> str:
    """A variable as a process has it that a library starts."""
    with os.popen(f"echo ${name}") as pipe:  # noqa: S605
        return pipe.read().strip()


def test_variables_that_only_new_processes_see_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KNOWN_ONE", "before")
    state = ProcessState()
    os.putenv("A_KNOWN_ONE", "after")
    os.putenv("A_NEW_ONE", "after")
    assert printed_by_a_child("A_KNOWN_ONE") == printed_by_a_child("A_NEW_ONE") == "after"
    assert state.restore() == ("environment variables",)
    assert printed_by_a_child("A_KNOWN_ONE") == "before"
    assert printed_by_a_child("A_NEW_ONE") == ""
    assert state.restore() == ()


LOWERED = """
import os, resource
from synflow_bench.process import ProcessState
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
if os.geteuid() == 0:
    os.setuid(65534)
state = ProcessState()
resource.setrlimit(resource.RLIMIT_NOFILE, (20, soft - 1))
assert state.restore() == ("resource limits",)
assert resource.getrlimit(resource.RLIMIT_NOFILE) == (soft - 1, soft - 1)
"""


def test_a_hard_limit_that_was_lowered_stays_and_the_soft_one_is_as_high_as_it_allows() -> None:
    subprocess.run([sys.executable, "-c", LOWERED], check=True, timeout=60)


def test_inference_mode_ends() -> None:
    state = ProcessState()
    mode = torch.inference_mode()
    mode.__enter__()
    assert "inference mode" in state.restore()
    assert not torch.is_inference_mode_enabled()
    assert torch.ones(1, requires_grad=True).sum().requires_grad


def test_many_changes_at_once_are_undone_in_any_order() -> None:
    for seed in range(5):
        state = ProcessState()
        changes = list(CHANGES.values())
        random.Random(seed).shuffle(changes)  # noqa: S311  an order, no secret
        for change in changes:
            change()
        assert set(CHANGES) - set(state.restore()) == set()
        assert state.restore() == ()


def test_an_added_folder_stays_on_the_import_path_behind_the_others() -> None:
    before = list(sys.path)
    with ProcessState.kept():
        sys.path.insert(0, "/nowhere")
    assert sys.path == [*before, "/nowhere"]
    sys.path.remove("/nowhere")


def test_a_deleted_working_folder_is_left(tmp_path: Path) -> None:
    with ProcessState.kept():
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
    assert Path.cwd()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (nn.functional, "relu"),
        (nn.Linear, "forward"),
        (nn.Module, "to"),
        (torch, "matmul"),
        (torch.Tensor, "abs"),
        (nn.Conv2d, "__call__"),
    ],
)
def test_a_replaced_function_is_named_and_restored(owner: Any, name: str) -> None:
    code, before = SharedCode(), getattr(owner, name)
    assert code.replaced() == ()
    setattr(owner, name, lambda *_, **__: None)
    named = code.replaced()
    assert any(found.endswith(f".{name}") for found in named)
    assert code.restore() == named
    assert code.replaced() == ()
    assert getattr(owner, name) == before


def test_new_names_are_no_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    code = SharedCode()
    monkeypatch.setattr(nn.functional, "of_a_plugin", lambda: None, raising=False)
    assert code.replaced() == ()


def test_an_autocast_that_was_left_on_leaves_no_cast_weights_behind() -> None:
    state = ProcessState()
    torch.autocast("cpu").__enter__()
    assert state.restore() == ("autocast",)
    layer, inputs = nn.Linear(2, 2), torch.ones(1, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(inputs)
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not layer(inputs).any()
