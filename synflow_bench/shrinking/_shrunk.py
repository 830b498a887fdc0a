"""A smaller network in place of a masked one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.dropout import _DropoutNd

from synflow_bench.metrics import Connectivity, NotFollowed
from synflow_bench.shrinking._plan import Slices, plan

SHRINK_VARIABLE = "SYNFLOW_BENCH_SHRINK"
"""Set to 0, no network is shrunk."""

WORTH = 0.9
"""The share of its entries above which a network is left as it is."""

AGREEMENT = 1e-4
"""How far logits may differ, as a share of the largest: above it a network was misunderstood."""


@dataclass(frozen=True)
class Shrunk:
    """`model` computes what the network that it was made of computes, with fewer units; `masks` are its own.

    `share` is the share of the network's parameters and buffers, counted in entries, that it has.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    share: float
    _whole: nn.Module
    _slices: Slices

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy its parameters and buffers to their places in the whole network.

        What was taken out keeps the values that it had.
        """
        whole = self._whole.state_dict()
        for name, tensor in self.model.state_dict().items():
            if name in self._slices:
                whole[name][_index(whole[name], self._slices[name])] = tensor
            else:
                whole[name].copy_(tensor)


def shrink(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    connectivity: Connectivity | NotFollowed,
    input_shape: tuple[int, ...],
) -> Shrunk | None:
    """Take out of a copy of `model` all units that nothing reads through the weights that `masks` keep.

    Those units get no gradient: what is left trains exactly as it would have, but for rounding. None where
    that saves too little, where the network draws for itself as dropout does, where it is not followed, and
    where the smaller network disagrees with the whole one on an example; `SHRINK_VARIABLE` = 0 forbids it.
    """
    if os.environ.get(SHRINK_VARIABLE, "1") == "0" or isinstance(connectivity, NotFollowed):
        return None
    if connectivity.opaque or any(isinstance(m, _DropoutNd) and m.p > 0 for m in model.modules()):
        return None
    slices = plan(connectivity, masks)
    share = _share(model, slices)
    if share > WORTH:
        return None
    small = _cut(model, slices)
    if not _agrees(model, small, masks, slices, input_shape):
        return None
    return Shrunk(small, _sliced(masks, slices), share, model, slices)


def _sliced(tensors: Mapping[str, Tensor], slices: Slices) -> dict[str, Tensor]:
    return {
        name: tensor[_index(tensor, slices[name])].contiguous() if name in slices else tensor
        for name, tensor in tensors.items()
    }


def _index(tensor: Tensor, by_dimension: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
    """What picks the entries that stay, in all dimensions at once."""
    kept = [by_dimension.get(d, torch.arange(size)) for d, size in enumerate(tensor.shape)]
    return tuple(
        entries.view([-1 if d == place else 1 for d in range(tensor.dim())]).to(tensor.device)
        for place, entries in enumerate(kept)
    )


def _share(model: nn.Module, slices: Slices) -> float:
    """The share of entries that stay."""
    whole = small = 0
    for name, tensor in model.state_dict().items():
        left = tensor.numel()
        for dimension, entries in slices.get(name, {}).items():
            left = left // tensor.shape[dimension] * entries.numel()
        whole, small = whole + tensor.numel(), small + left
    return small / whole


def _cut(model: nn.Module, slices: Slices) -> nn.Module:
    """A copy of `model` with its tensors sliced, tied ones tied."""
    state = model.state_dict(keep_vars=True)
    # What the copy must not copy is put in its place beforehand: whole tensors would be copied to be sliced.
    memo: dict[int, object] = {}
    for name in slices:
        tensor = state[name]
        sliced = tensor.detach()[_index(tensor, slices[name])].contiguous()
        memo[id(tensor)] = (
            nn.Parameter(sliced, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else sliced
        )
    small = deepcopy(model, memo)
    for module in small.modules():
        _describe(module)
    return small


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


@torch.no_grad()
def _agrees(
    model: nn.Module,
    small: nn.Module,
    masks: Mapping[str, Tensor],
    slices: Slices,
    input_shape: tuple[int, ...],
) -> bool:
    """Whether both, masked, give the same logits for two examples of noise."""
    device = next(model.parameters()).device
    inputs = torch.randn(2, *input_shape, generator=torch.Generator().manual_seed(0)).to(device)
    try:
        expected = _masked(model, masks, inputs)
        found = _masked(small, _sliced(masks, slices), inputs)
    except Exception:  # whatever a network does with sizes of its own: it is left whole
        return False
    scale = float(expected.abs().max())
    return expected.shape == found.shape and float((expected - found).abs().max()) <= AGREEMENT * scale


def _masked(model: nn.Module, masks: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    state = {
        name: parameter * masks[name].to(parameter) if name in masks else parameter
        for name, parameter in model.named_parameters()
    }
    modes = [(module, module.training) for module in model.modules()]
    try:
        logits: Tensor = torch.func.functional_call(model.eval(), state, (inputs,))
    finally:
        for module, mode in modes:
            module.training = mode
    return logits
