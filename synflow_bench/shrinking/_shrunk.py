"""A smaller network in place of a masked one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from synflow_bench.metrics import Connectivity, NotFollowed
from synflow_bench.shrinking._check import Masked, agree
from synflow_bench.shrinking._cut import cut, index, share, sliced, tensors_of
from synflow_bench.shrinking._plan import Slices, plan

SHRINK_VARIABLE = "SYNFLOW_BENCH_SHRINK"
"""Set to 0, no network is shrunk."""

WORTH = 0.9
"""The share of its entries above which a network is left as it is."""


@dataclass(frozen=True)
class Shrunk:
    """`model` computes what the network that it was made of computes, with fewer units; `masks` are its own.

    `share` is the share of the network's parameters and buffers, counted in entries, that it has.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    share: float
    _whole: nn.Module
    _whole_masks: Mapping[str, Tensor]
    _slices: Slices

    def part(self, name: str, tensor: Tensor) -> Tensor:
        """What is left of a tensor of the whole network."""
        return sliced({name: tensor}, self._slices)[name]

    def spread(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Masks of the whole network that keep what `masks` keep here, and nothing of what was taken out."""
        whole = {name: torch.zeros_like(mask) for name, mask in self._whole_masks.items()}
        for name, mask in masks.items():
            whole[name][index(whole[name], self._slices.get(name, {}))] = mask
        return whole

    @torch.no_grad()
    def put_back(self) -> None:
        """Copy its parameters and buffers to their places in the whole network.

        What was taken out keeps the values that it had, but for masked weights, which are zero then
        everywhere.
        """
        whole = tensors_of(self._whole)
        for name, mask in self._whole_masks.items():
            whole[name].mul_(mask.to(whole[name]))
        for name, tensor in tensors_of(self.model).items():
            if name in self._slices:
                whole[name][index(whole[name], self._slices[name])] = tensor
            else:
                whole[name].copy_(tensor)


def shrink(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    connectivity: Connectivity | NotFollowed,
    input_shape: tuple[int, ...],
    same: Callable[[Masked, Masked, tuple[int, ...]], bool] = agree,
    worth: float = WORTH,
) -> Shrunk | None:
    """Take out of a copy of `model` all units that nothing reads through the weights that `masks` keep.

    Those units get no gradient: what the output depends on trains exactly as it would have, but for
    rounding. Statistics that a norm keeps of a unit which stays only to fit another are its own affair.

    None where more than a share of `worth` stays, where the network draws random numbers as dropout does,
    where it is not followed, and where the smaller network is not the `same` as the whole one: by default,
    where they disagree on two examples of `input_shape`. `SHRINK_VARIABLE` = 0 forbids it.
    """
    if os.environ.get(SHRINK_VARIABLE, "1") == "0" or isinstance(connectivity, NotFollowed):
        return None
    slices = {} if connectivity.opaque else plan(connectivity, masks)
    left = share(model, slices)
    if left > worth:
        return None
    try:
        small = cut(model, slices)
        its_masks = sliced(masks, slices)
        if not same((model, masks), (small, its_masks), input_shape):
            return None
    except Exception:  # whatever a network does with sizes of its own: it is left whole
        return None
    return Shrunk(small, its_masks, left, model, masks, slices)
