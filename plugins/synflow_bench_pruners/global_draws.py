"""For what torch draws from its global generators alone, such as dropout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from synflow_bench import Problem


@contextmanager
def global_draws(problem: Problem) -> Iterator[None]:
    """Seed torch's global generators from the problem's own; afterwards they are as they were."""
    seed = int(torch.randint(2**62, (), generator=problem.generator))
    devices = [problem.device] if problem.device.type in {"cuda", "mps"} else []
    with torch.random.fork_rng(devices, device_type=devices[0].type if devices else "cuda"):
        torch.manual_seed(seed)
        yield
