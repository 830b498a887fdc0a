"""What all parts of the report on a device share: lines of results, times, and networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from synflow_bench.host import Host
from synflow_bench.training import process_restored, set_up_process

BENCHMARKS = Path(__file__).resolve().parents[1]
PLUGINS = (BENCHMARKS / "made_up_data.py", BENCHMARKS / "bundle" / "cifar10_jpeg.py")


@dataclass(frozen=True)
class Network:
    """A network and the shape of its input."""

    name: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Line:
    """One measurement.

    Attributes:
        what: The work.
        here: The seconds of synflow-bench; None where it failed.
        conventional: The seconds of the baseline; None where it was not measured.
        least_ratio: The ratio of both to reach.
        most_seconds: The seconds to reach.
        note: What else is to be known.
    """

    what: str
    here: float | None
    conventional: float | None = None
    least_ratio: float | None = None
    most_seconds: float | None = None
    note: str = ""

    @property
    def reached(self) -> bool | None:
        """True if the figure to reach is reached; None if there is none, or it was not measured."""
        if self.here is None:
            return None
        if self.most_seconds is not None:
            return self.here <= self.most_seconds
        if self.least_ratio is None or self.conventional is None:
            return None
        return self.conventional / self.here >= self.least_ratio


Report = Callable[[Line], None]


def seconds(work: Callable[[], object], device: torch.device, times: int = 1, warm_ups: int = 1) -> float:
    """Return the mean wall seconds of `times` runs, after some that warm up."""
    for _ in range(warm_ups):
        work()
    wait(device)
    started = time.perf_counter()
    for _ in range(times):
        work()
    wait(device)
    return (time.perf_counter() - started) / times


def wait(device: torch.device) -> None:
    """Wait until a CUDA device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def as_in_a_worker(device: torch.device) -> Iterator[None]:
    """Compute as a worker does in this block; the baseline computes with torch's own defaults."""
    with process_restored():
        set_up_process(device, 1)
        yield


def network(chosen: Network, device: torch.device) -> nn.Module:
    """Build a network with weights that are always the same."""
    torch.manual_seed(0)
    model: nn.Module = Host.load().models.get(chosen.name)(chosen.shape, 10)
    return model.to(device)


def weights_of(model: nn.Module) -> list[str]:
    """Name the matrices and kernels of a network."""
    return [name for name, p in model.named_parameters() if p.dim() > 1]
