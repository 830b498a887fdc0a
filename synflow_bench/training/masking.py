"""Training with masks on plain modules."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MaskedWeights:
    """Keeps masked weights at zero: they are zeroed once, and their gradients before every optimizer step.

    A weight, gradient, momentum and moment of zero give a step of zero under every optimizer of a recipe and
    under weight decay. That equals masking in the forward pass, under gradient clipping too. Masking the
    weights alone does not: gradients of removed weights would enter norms, moments and momentum.
    """

    def __init__(self, model: nn.Module, masks: Mapping[str, Tensor]) -> None:
        parameters = dict(model.named_parameters())
        partial = {name: mask for name, mask in masks.items() if not bool(mask.all())}
        self._names = list(partial)
        self._weights: list[Tensor] = [parameters[name] for name in partial]
        self._masks = [mask.to(parameters[name]) for name, mask in partial.items()]
        self.mask_weights()

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of removed weights, in place."""
        pairs = [
            (w.grad, mask) for w, mask in zip(self._weights, self._masks, strict=True) if w.grad is not None
        ]
        if pairs:
            gradients, masks = zip(*pairs, strict=True)
            torch._foreach_mul_(gradients, masks)

    @torch.no_grad()
    def mask_weights(self) -> None:
        """Zero the removed weights, in place."""
        if self._weights:
            torch._foreach_mul_(self._weights, self._masks)

    @torch.no_grad()
    def check(self) -> None:
        """Raise `RuntimeError` naming the first layer in which a removed weight is not zero."""
        for name, weight, mask in zip(self._names, self._weights, self._masks, strict=True):
            if bool(((weight != 0) & (mask == 0)).any()):
                raise RuntimeError(f"a removed weight of layer {name!r} is not zero after training")
