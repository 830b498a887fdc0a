"""A linear layer of several networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[Tensor, Tensor]
"""Values and gradients of one parameter of G networks."""


class _Product(torch.autograd.Function):
    """x W^T + b of every network; gradients of W and b go where the optimizer looks for them."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, layer: StackedLinear) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.layer = layer
        if layer.bias is None:
            return torch.bmm(inputs, weight.transpose(1, 2))
        return torch.baddbmm(layer.bias[0].unsqueeze(1), inputs, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, None, None]:
        (gradient,) = outer
        inputs, weight = ctx.saved_tensors
        layer: StackedLinear = ctx.layer
        torch.bmm(inputs.transpose(1, 2), gradient, out=layer.weight[1].transpose(1, 2))
        if layer.bias is not None:
            torch.sum(gradient, dim=1, out=layer.bias[1])
        return torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None, None, None


class StackedLinear(nn.Module):
    """Maps (G, N, in) to (G, N, out), each network by its own weights."""

    def __init__(self, weight: Pair, bias: Pair | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self._leaf = weight[0].requires_grad_()

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs` (G, N, in)."""
        outputs: Tensor = _Product.apply(inputs, self._leaf, self)
        return outputs
