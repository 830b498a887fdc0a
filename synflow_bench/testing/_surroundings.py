"""What surrounds a plugin in its process: random states and settings that are no plugin's business."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.nn.modules import module as module_of_torch


def randomness() -> dict[str, Any]:
    """The states of the global random generators."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
    }


def settings() -> dict[str, Any]:
    """What else a plugin could change for all others."""
    return {
        "default dtype": torch.get_default_dtype(),
        "number of threads": torch.get_num_threads(),
        "grad mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn flags": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "working folder": os.getcwd(),  # noqa: PTH109  compared, not used
        "environment": dict(os.environ),
    }


def global_hooks() -> dict[str, int]:
    """How many hooks torch calls for every module."""
    return {name: len(hooks) for name, hooks in _global_hooks().items()}


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names whose values differ."""
    return [name for name in before | after if before.get(name) != after.get(name)]


@contextmanager
def kept_surroundings() -> Iterator[None]:
    """Put everything back at the end, so that one fault is found once."""
    was, torch_state = settings(), torch.get_rng_state()
    numpy_state, python_state = np.random.get_state(), random.getstate()
    hooks = {name: dict(of_all) for name, of_all in _global_hooks().items()}
    try:
        yield
    finally:
        _restore(was)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for name, of_all in _global_hooks().items():
            of_all.clear()
            of_all.update(hooks[name])


def _restore(was: dict[str, Any]) -> None:
    torch.set_default_dtype(was["default dtype"])
    torch.set_num_threads(was["number of threads"])
    torch.set_grad_enabled(was["grad mode"])
    torch.use_deterministic_algorithms(was["deterministic algorithms"])
    torch.set_float32_matmul_precision(was["matmul precision"])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = was["cudnn flags"]
    os.chdir(was["working folder"])
    if dict(os.environ) != was["environment"]:
        os.environ.clear()
        os.environ.update(was["environment"])


def _global_hooks() -> dict[str, dict[int, Any]]:
    """torch keeps them in dictionaries of one module, which it has no call to list."""
    found = vars(module_of_torch).items()
    return {
        name: hooks
        for name, hooks in found
        if name.startswith("_global") and name.endswith("hooks") and isinstance(hooks, dict)
    }
