"""Devices, and the set-up of processes that compute on them."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

import torch
import torch.utils.deterministic
from torch import Tensor

from synflow_bench.errors import DeviceError
from synflow_bench.process import (
    attention_kernels,
    cudnn_tf32,
    flushes_subnormal,
    matmul_precision,
    set_attention_kernels,
)


def resolve_device(name: str) -> torch.device:
    """Return the device `name`; `auto` is the best one of the machine: cuda, then mps, then cpu.

    Example:
        >>> resolve_device("cpu")
        device(type='cpu')

    Raises:
        DeviceError: The name is not one of torch's, or the machine does not have the device.
    """
    counts = available()
    if name == "auto":
        return torch.device(next(kind for kind, count in counts.items() if count))
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:1 or mps") from None
    if (device.index or 0) >= counts.get(device.type, 0):
        present = ", ".join(kind for kind, count in counts.items() if count)
        raise DeviceError(f"device {name!r} is not on this machine; it has {present}")
    return device


def resolve_devices(name: str) -> list[torch.device]:
    """Return the devices that workers share: all GPUs for `auto` and `cuda`, the one device otherwise.

    Raises:
        DeviceError: As `resolve_device`.
    """
    device = resolve_device(name)
    if device.type == "cuda" and device.index is None:
        return [torch.device("cuda", index) for index in range(available()["cuda"])]
    return [device]


def available() -> dict[str, int]:
    """Count the devices of each kind, best kind first."""
    return {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}


def describe(device: torch.device) -> str:
    """Return the name of the device for a record."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return `tensor` on `device`; a copy from the CPU to a GPU does not wait for the work of the GPU."""
    if device.type == "cuda" and tensor.device.type == "cpu" and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def free_memory(device: torch.device) -> int | None:
    """Return the bytes that this process can still get on a GPU; None for other devices."""
    if device.type != "cuda":
        return None
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


def usable_cores() -> int:
    """Count the processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_SPINS = "20000"
"""Times that a thread of GNU OpenMP looks for work before it sleeps: a few tenths of a millisecond."""


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment variables by which numeric libraries use `threads` threads each.

    By default the threads of GNU OpenMP look for work for milliseconds between parallel regions, and occupy
    cores that other threads need, such as those that select weights. If `GOMP_SPINCOUNT` or `OMP_WAIT_POLICY`
    is set already, it is left as it is.
    """
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    waiting = {} if os.environ.keys() & {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} else {"GOMP_SPINCOUNT": _SPINS}
    return dict.fromkeys(pools, str(threads)) | waiting


_SPAWNING = threading.RLock()


@contextmanager
def main_module_hidden() -> Iterator[None]:
    """Let processes that are spawned in this context start without running the user's script again.

    `multiprocessing` imports the main module anew in every process it spawns, so a script without a
    `__main__` guard would run itself again and one from standard input would not be found. The processes of
    this project need nothing from it. One thread at a time is in this context. A spawn also fixes the start
    method of the user's own processes, if it is not fixed yet; that is undone.
    """
    with _SPAWNING:
        main = sys.modules["__main__"]
        method = multiprocessing.get_start_method(allow_none=True)
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
            if method is None:
                multiprocessing.set_start_method(None, force=True)


@contextmanager
def process_restored() -> Iterator[None]:
    """Compute with torch's own defaults in this context, and restore the settings of this process after it.

    These are the default type and device, the recording of gradients, and all that `make_repeatable` sets.
    """
    threads, flushed = torch.get_num_threads(), flushes_subnormal()
    dtype, chosen = torch.get_default_dtype(), GpuAlgorithms.of_process()
    warn_only, fill = _deterministic()[1], bool(_OF_TORCH.fill_uninitialized_memory)
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_num_threads(threads)
            torch.set_flush_denormal(flushed)
            chosen.choose(warn_only=warn_only, fill=fill)
            if gpu is not None:
                torch.cuda.set_device(gpu)


def set_up_process(device: torch.device, threads: int) -> None:
    """Make the computations of this process on `device` repeatable and fast."""
    make_repeatable(device, threads)
    if device.type == "cpu":
        keep_freed_memory()


def make_repeatable(device: torch.device, threads: int) -> None:
    """Fix the order of floating-point sums: threads on a CPU, algorithms on a GPU.

    Subnormal numbers are flushed to zero: moments of masked or dead weights decay into them, and processors
    compute many times slower with them.
    """
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if device.type == "cuda":
        if device.index is not None:
            torch.cuda.set_device(device)
        GpuAlgorithms().choose()


_OF_TORCH: Any = torch.utils.deterministic

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""The environment variable without which cuBLAS may sum in another order in every run."""


@dataclass(frozen=True)
class GpuAlgorithms:
    """The choices of CUDA's libraries on which the bits of results depend; the defaults are a worker's.

    Attributes:
        cublas_workspace: The workspace of cuBLAS; in one of fixed size its sums have a fixed order.
        cudnn_deterministic: True if cuDNN takes only algorithms that sum in a fixed order.
        cudnn_benchmark: True if cuDNN takes the algorithm that is the fastest in a trial.
        deterministic: True if torch scatters and adds in a fixed order, where it has such an algorithm.
        tf32: True if convolutions round float32 inputs to 10 bits.
        matmul: What `torch.get_float32_matmul_precision` returns: only `highest` rounds no float32 inputs.
        attention: The kernels of attention that torch may choose from, separated by commas; the gradients of
            all but `math` are sums in any order.
    """

    cublas_workspace: str | None = ":4096:8"
    cudnn_deterministic: bool = True
    cudnn_benchmark: bool = False
    deterministic: bool = True
    tf32: bool = False
    matmul: str = "highest"
    attention: str = "math"

    @classmethod
    def of_process(cls) -> GpuAlgorithms:
        """Return the choices of this process."""
        cudnn = torch.backends.cudnn
        return cls(
            cublas_workspace=os.environ.get(_WORKSPACE),
            cudnn_deterministic=cudnn.deterministic,
            cudnn_benchmark=cudnn.benchmark,
            deterministic=_deterministic()[0],
            tf32=cudnn_tf32(),
            matmul=matmul_precision(),
            attention=attention_kernels(),
        )

    def choose(self, *, warn_only: bool = True, fill: bool = False) -> None:
        """Let this process make these choices.

        Args:
            warn_only: Only warn of an operation without a deterministic algorithm.
            fill: Fill new tensors, which costs time and tells of reads before writes.
        """
        os.environ.pop(_WORKSPACE, None)
        if self.cublas_workspace is not None:
            os.environ[_WORKSPACE] = self.cublas_workspace
        cudnn = torch.backends.cudnn
        cudnn.deterministic, cudnn.benchmark = self.cudnn_deterministic, self.cudnn_benchmark
        if self.tf32 != cudnn_tf32():
            cudnn.allow_tf32 = self.tf32
        if self.matmul != matmul_precision():
            torch.set_float32_matmul_precision(self.matmul)
        if self.attention != attention_kernels():
            set_attention_kernels(self.attention)
        if (self.deterministic, warn_only) != _deterministic():  # to set them imports much of torch
            torch.use_deterministic_algorithms(self.deterministic, warn_only=warn_only)
        _OF_TORCH.fill_uninitialized_memory = fill


def algorithms(device: torch.device) -> dict[str, str]:
    """Return the `GpuAlgorithms` of this process for a record; none on other devices.

    Example:
        >>> algorithms(torch.device("cpu"))
        {}
    """
    if device.type != "cuda":
        return {}
    return {name: str(value) for name, value in asdict(GpuAlgorithms.of_process()).items()}


def _deterministic() -> tuple[bool, bool]:
    enabled = torch.are_deterministic_algorithms_enabled()
    return enabled, torch.is_deterministic_algorithms_warn_only_enabled()


_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of `mallopt` in glibc."""

_KEPT = 1 << 28
"""Bytes: smaller blocks are reused after they are freed; larger ones go back to the system."""


def keep_freed_memory() -> bool:
    """Let the C library reuse freed memory; return False if it has no such setting.

    By default glibc gives large blocks back to the system, which has to zero new pages for the next ones: for
    a network with large activations that can take longer at every step than its arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEPT)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
