"""Multiply-accumulates of a network for one example."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from synflow_bench.metrics._eval_mode import in_eval_mode


def uses_of_weights(model: nn.Module, example: Tensor) -> tuple[dict[str, int], Tensor]:
    """How often every weight tensor's entries are used for one `example` (1, ...), and the output for it.

    An entry of a convolution's weight is used once at every output position, one of a linear layer once for
    every row of its input; so a tensor's MACs are its uses times its (kept) entries. A tensor that several
    modules share counts under the name of the first. Runs one forward pass in eval mode.
    """
    uses: dict[str, int] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with torch.no_grad(), in_eval_mode(model):
        handles = [
            module.register_forward_hook(_counter(uses, names[id(module.weight)]), with_kwargs=True)
            for module in model.modules()
            if isinstance(module, nn.Linear | _ConvNd) and id(module.weight) in names
        ]
        try:
            output: Tensor = model(example)
        finally:
            for handle in handles:
                handle.remove()
    return uses, output


def _counter(uses: dict[str, int], name: str) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        uses[name] = uses.get(name, 0) + _positions(module, (*inputs, *named.values())[0], output)

    return hook


def _positions(module: nn.Module, inputs: Tensor, output: Tensor) -> int:
    if isinstance(module, nn.Linear):
        return output[..., 0].numel()
    # A transposed convolution spreads every input position, the others gather for every output position.
    positions = inputs if isinstance(module, _ConvTransposeNd) else output
    return positions[:, 0].numel()
