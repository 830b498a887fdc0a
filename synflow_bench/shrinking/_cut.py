"""A copy of a network with less in its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from synflow_bench.shrinking._plan import Slices


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that are not saved too; tied ones once, by their first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def index(tensor: Tensor, by_dimension: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
    """What picks the entries that stay, in all dimensions at once."""
    kept = [by_dimension.get(d, torch.arange(size)) for d, size in enumerate(tensor.shape)]
    return tuple(
        entries.view([-1 if d == place else 1 for d in range(tensor.dim())]).to(tensor.device)
        for place, entries in enumerate(kept)
    )


def sliced(tensors: Mapping[str, Tensor], slices: Slices) -> dict[str, Tensor]:
    """The entries of `tensors` that stay; those that are not named in `slices` are not copied."""
    return {
        name: _selected(tensor, slices[name]) if name in slices else tensor
        for name, tensor in tensors.items()
    }


def _selected(tensor: Tensor, by_dimension: Mapping[int, Tensor]) -> Tensor:
    """One dimension after the other, the one that leaves least first: all at once is ten times slower."""
    for dimension in sorted(by_dimension, key=lambda d: by_dimension[d].numel() / tensor.shape[d]):
        tensor = tensor.index_select(dimension, by_dimension[dimension].to(tensor.device))
    return tensor.contiguous()


def share(model: nn.Module, slices: Slices) -> float:
    """The share of the entries of parameters and buffers that stay."""
    whole = small = 0
    for name, tensor in tensors_of(model).items():
        left = tensor.numel()
        for dimension, entries in slices.get(name, {}).items():
            left = left // tensor.shape[dimension] * entries.numel()
        whole, small = whole + tensor.numel(), small + left
    return small / whole


@torch.no_grad()
def cut(model: nn.Module, slices: Slices) -> nn.Module:
    """A copy of `model` with its tensors sliced, tied ones tied.

    Raises `ValueError` for a layer that says its size in a way that no tensor of its own does.
    """
    # What the copy must not copy is put in its place beforehand: whole tensors would be copied to be sliced.
    memo: dict[int, object] = {}
    for name, tensor in tensors_of(model).items():
        if name in slices:
            small = _selected(tensor.detach(), slices[name])
            parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(small, tensor.requires_grad) if parameter else small
    copy = deepcopy(model, memo)
    for module in copy.modules():
        _describe(module)
    return copy


def _describe(module: nn.Module) -> None:
    """Let the layer's own figures say what its tensors are."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd) and module.groups == 1:
        first, second = module.weight.shape[:2]
        inputs, outputs = (first, second) if module.transposed else (second, first)
        module.in_channels, module.out_channels = inputs, outputs
    elif isinstance(module, _NormBase):
        sized = next((t for t in (module.weight, module.running_mean) if t is not None), None)
        if sized is not None:
            module.num_features = sized.numel()
        elif isinstance(module, _InstanceNorm):
            raise ValueError("an instance norm without tensors compares its input with a size of its own")
