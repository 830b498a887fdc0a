"""Global and network state that a plugin must not change, and the memory that its tensors take."""

from __future__ import annotations

import os
import random
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def random_states() -> dict[str, Any]:
    """Return the states of the global random generators in a form that can be compared."""
    return {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": repr(np.random.get_state()),
        "random": random.getstate(),
    }


def global_settings() -> dict[str, Any]:
    """Return the settings of the process that a plugin could change for all others."""
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
    """Return the number of hooks that torch calls for every module, by the kind of hook."""
    return {name: len(hooks) for name, hooks in _global_hooks().items()}


def _global_hooks() -> dict[str, dict[int, Any]]:
    """Return the dictionaries of hooks in the module of torch that has them; no function lists them."""
    return {
        name: hooks
        for name, hooks in vars(torch_module).items()
        if name.startswith("_global") and name.endswith("hooks") and isinstance(hooks, dict)
    }


@contextmanager
def restored_globals() -> Iterator[None]:
    """Restore global settings, random states and hooks on exit, so that a fault breaks only one rule."""
    settings, torch_state = global_settings(), torch.get_rng_state()
    numpy_state, python_state = np.random.get_state(), random.getstate()
    hooks = {name: dict(registered) for name, registered in _global_hooks().items()}
    try:
        yield
    finally:
        _restore_settings(settings)
        torch.set_rng_state(torch_state)
        np.random.set_state(numpy_state)
        random.setstate(python_state)
        for name, registered in _global_hooks().items():
            registered.clear()
            registered.update(hooks[name])


def _restore_settings(settings: Mapping[str, Any]) -> None:
    torch.set_default_dtype(settings["default dtype"])
    torch.set_num_threads(settings["number of threads"])
    torch.set_grad_enabled(settings["grad mode"])
    torch.use_deterministic_algorithms(settings["deterministic algorithms"])
    torch.set_float32_matmul_precision(settings["matmul precision"])
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = settings["cudnn flags"]
    os.chdir(settings["working folder"])
    if dict(os.environ) != settings["environment"]:
        os.environ.clear()
        os.environ.update(settings["environment"])


@dataclass(frozen=True)
class NetworkState:
    """Copies of a network's tensors by name, and the modes, hooks and attributes of its modules."""

    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    modes: Mapping[str, bool]
    hooks: Mapping[str, object]

    @classmethod
    def of(cls, network: nn.Module) -> NetworkState:
        """Record the present state of `network`."""
        parameters = dict(network.named_parameters())
        return cls(
            weights=copies(parameters.items()),
            buffers=copies(network.named_buffers()),
            gradients=copies((n, p.grad) for n, p in parameters.items() if p.grad is not None),
            modes={name: module.training for name, module in network.named_modules()},
            hooks=hooks_and_attributes(network),
        )


def copies(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Copy named tensors."""
    return {name: tensor.detach().clone() for name, tensor in tensors}


def hooks_and_attributes(network: nn.Module) -> dict[str, object]:
    """Return the attribute names and hook counts of each module, and the hook counts of each parameter."""
    found: dict[str, object] = {}
    for name, module in network.named_modules():
        found[name] = (frozenset(vars(module)), *_hook_counts(module))
    for name, parameter in network.named_parameters():
        found[f"{name} itself"] = tuple(_hook_counts(parameter))
    return found


def _hook_counts(owner: nn.Module | Tensor) -> Iterator[int]:
    for name in sorted(set(dir(type(owner))) | set(vars(owner))):
        if name.endswith("_hooks") and hasattr(hooks := getattr(owner, name, None), "__len__"):
            yield len(hooks)  # type: ignore[arg-type]


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the names whose values differ, or that only one of the two has."""
    names = dict.fromkeys((*before, *after))
    return [name or "the network" for name in names if not _same(before.get(name), after.get(name))]


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other


class PeakMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context in which `peak` is the largest number of bytes of tensors that were alive at one time.

    Only tensors made in the context count. The peak of the process would not serve: it never falls, and a
    small network does not raise it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._live = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation and count the storage of its results."""
        results = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(results):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address not in self._seen:
            self._seen.add(address)
            self._live += size
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._free, address, size)

    def _free(self, address: int, size: int) -> None:
        self._seen.discard(address)
        self._live -= size
