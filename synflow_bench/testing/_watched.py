"""A network before and after: what of it has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class State:
    """Copies of what a network holds, by name, and how each module is rigged."""

    weights: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor]
    modes: Mapping[str, bool]
    rigging: Mapping[str, object]

    @classmethod
    def of(cls, network: nn.Module) -> State:
        """The state of `network` now."""
        parameters = dict(network.named_parameters())
        return cls(
            weights=copies(parameters.items()),
            buffers=copies(network.named_buffers()),
            gradients=copies((n, p.grad) for n, p in parameters.items() if p.grad is not None),
            modes={name: module.training for name, module in network.named_modules()},
            rigging=rigging(network),
        )


def copies(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """A copy of every tensor."""
    return {name: tensor.detach().clone() for name, tensor in tensors}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names under which something else is now, or nothing."""
    names = dict.fromkeys((*before, *after))
    return [name or "the network" for name in names if not _same(before.get(name), after.get(name))]


def rigging(network: nn.Module) -> dict[str, object]:
    """For each module its attributes and the number of its hooks; for each parameter that of its own."""
    found: dict[str, object] = {}
    for name, module in network.named_modules():
        found[name] = (frozenset(vars(module)), *_hooks(module))
    for name, parameter in network.named_parameters():
        found[f"{name} itself"] = tuple(_hooks(parameter))
    return found


def _hooks(owner: nn.Module | Tensor) -> Iterator[int]:
    for name in sorted(set(dir(type(owner))) | set(vars(owner))):
        if name.endswith("_hooks") and hasattr(hooks := getattr(owner, name, None), "__len__"):
            yield len(hooks)  # type: ignore[arg-type]


def _same(one: object, other: object) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and one == other
