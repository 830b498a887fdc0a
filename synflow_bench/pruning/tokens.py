"""The embeddings that look up tokens, among those of positions, segments and other constants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from synflow_bench.pruning.interface import Inputs
from synflow_bench.pruning.prunable import EMBEDDING

Lookups = list[tuple[str, Tensor]]
"""The names of embeddings, and the indices that they look up, call by call."""


def token_embeddings(model: nn.Module, inputs: Inputs) -> frozenset[str]:
    """Return the names of the embeddings whose indices change with the integers of an input.

    Those of positions do not: a network counts them by itself. Where nothing can be found out, these are all
    embeddings.

    Example:
        >>> class Network(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.tokens, self.places = nn.Embedding(9, 4), nn.Embedding(5, 4)
        ...     def forward(self, ids):
        ...         return self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        >>> token_embeddings(Network(), torch.tensor([[1, 2, 3]]))
        frozenset({'tokens'})
    """
    names = {id(module): name for name, module in model.named_modules() if isinstance(module, EMBEDDING)}
    everything = frozenset(names.values())
    if len(names) < 2:
        return everything
    lookups: Lookups = []
    hooks = [
        module.register_forward_pre_hook(_recorder(names[id(module)], lookups), with_kwargs=True)
        for module in model.modules()
        if id(module) in names
    ]

    def looked_up(changed: Inputs) -> Lookups:
        lookups.clear()
        model(changed)
        return lookups.copy()

    try:
        with torch.no_grad():
            before = looked_up(tree_map(_copied, inputs))
            found = {
                name for other in _with_other_integers(inputs) for name in _changed(before, looked_up(other))
            }
    except Exception:  # a network may fail in any way on other integers
        return everything
    finally:
        for hook in hooks:
            hook.remove()
    return frozenset(found) or everything


def _recorder(name: str, lookups: Lookups) -> Callable[..., None]:
    def record(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        leaves = tree_leaves((args, kwargs))
        lookups.extend((name, leaf.clone()) for leaf in leaves if isinstance(leaf, Tensor))

    return record


def _changed(before: Lookups, after: Lookups) -> set[str]:
    if [name for name, _ in before] != [name for name, _ in after]:
        return {name for name, _ in (*before, *after)}
    pairs = zip(before, after, strict=True)
    return {name for (name, first), (_, other) in pairs if not torch.equal(first, other)}


def _with_other_integers(inputs: Inputs) -> Iterator[Inputs]:
    """Yield the inputs with other values in one of the integer tensors that vary, or in another."""
    leaves = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and _is_integer(leaf)]
    varying = [leaf for leaf in leaves if leaf.numel() and bool(leaf.min() < leaf.max())]
    for chosen in varying or leaves:
        yield tree_map(lambda leaf, chosen=chosen: _other(leaf) if leaf is chosen else _copied(leaf), inputs)


def _other(integers: Tensor) -> Tensor:
    least, most = integers.min(), integers.max()
    if least == most:
        return (integers == 0).to(integers)
    return torch.where(integers == least, most, least)


def _is_integer(leaf: Tensor) -> bool:
    return not (leaf.is_floating_point() or leaf.is_complex() or leaf.dtype is torch.bool)


def _copied(leaf: Any) -> Any:
    return leaf.clone() if isinstance(leaf, Tensor) else leaf
