"""Pruning as the harness does it: nothing of the caller's is touched, and the density is exact."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from synflow_bench.errors import PluginError
from synflow_bench.pruning._masks import Masks
from synflow_bench.pruning._problem import Problem
from synflow_bench.pruning._pruner import Pruner
from synflow_bench.pruning._selection import count


@dataclass(frozen=True)
class Pruned:
    """The masks, and the precision in which the last scores were taken."""

    masks: Masks
    score_dtype: str


def run_pruner(pruner: Pruner, problem: Problem, density: float) -> Pruned:
    """Let `pruner` choose; raises when the masks do not have exactly round(density * N) weights."""
    expected = count(density, problem.masks.size)
    device = problem.device
    with torch.enable_grad(), _own_randomness(problem):
        masks = pruner.prune(problem, density)
    masks = masks.check(problem.parameters).to(device)
    if masks.kept != expected:
        raise PluginError(
            f"pruner {type(pruner).__name__} kept {masks.kept} of {masks.size} weights where compression "
            f"{1 / density:g} asks for {expected}; its prune() must keep exactly that many"
        )
    return Pruned(masks, str(problem.dtype).removeprefix("torch."))


@contextmanager
def _own_randomness(problem: Problem) -> Iterator[None]:
    """Leave torch's, numpy's and Python's global generators as they were.

    What a pruner draws from them is set by its own generator's seed.
    """
    device, seed = problem.device, problem.generator.initial_seed()
    devices = [device] if device.type in {"cuda", "mps"} else []
    kind = device.type if devices else "cuda"
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices, device_type=kind):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)
