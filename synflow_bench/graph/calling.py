"""The call of a network with other tensors in the place of its own, and without wrappers of torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call_with(model: nn.Module, tensors: Mapping[str, Tensor], inputs: Any) -> Any:
    """Return the output of a network with other parameters and buffers; its own are put back.

    `torch.func.functional_call` alone leaves the other tensors in a module that has several names.

    Args:
        model: The network.
        tensors: The tensors by the first name of what they replace, everywhere that it is used.
        inputs: The one argument of the network.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> call_with(layer, {"weight": torch.ones(1, 2)}, torch.ones(2)).item()
        2.0
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    replacing = {id(own[name]): tensor for name, tensor in tensors.items()}
    places = (
        place
        for prefix, module in model.named_modules()
        for place in chain(
            module.named_parameters(prefix, recurse=False, remove_duplicate=False),
            module.named_buffers(prefix, recurse=False, remove_duplicate=False),
        )
    )
    state = {name: replacing[id(tensor)] for name, tensor in places if id(tensor) in replacing}
    return functional_call(model, state, (inputs,), tie_weights=False)


def unwrapped(model: nn.Module) -> tuple[nn.Module, str]:
    """Return a network without `torch.compile` and `nn.DataParallel` around it, and the prefix of its names.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> unwrapped(nn.DataParallel(layer)) == (layer, "module.")
        True
    """
    prefix = ""
    while True:
        if isinstance(model, nn.DataParallel):
            model, prefix = model.module, f"{prefix}module."
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
            model, prefix = inner, f"{prefix}_orig_mod."
        else:
            return model, prefix
