"""Which networks can be stacked: chains of linear layers and ReLU."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

Named = tuple[str, nn.Module]


def chain_of(model: nn.Module, prefix: str = "") -> Iterator[Named]:
    """The layers of nested `Sequential`s in order, with their names."""
    if type(model) is not nn.Sequential:
        yield prefix.removesuffix("."), model
        return
    for name, child in model._modules.items():  # a module that comes twice is called twice
        if child is not None:
            yield from chain_of(child, f"{prefix}{name}.")


def is_stackable(model: nn.Module) -> bool:
    """Whether `model` is flatten, then linear layers and ReLU, with nothing hooked in or shared."""
    layers = [layer for _, layer in chain_of(model)]
    parameters = sum(len(list(layer.parameters())) for layer in layers)
    return (
        parameters == len(list(model.parameters())) > 0
        and all(parameter.requires_grad for parameter in model.parameters())
        and _flattens_all(layers[0])
        and all(type(layer) in (nn.Linear, nn.ReLU, nn.Identity) for layer in layers[1:])
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    )


def _flattens_all(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)
