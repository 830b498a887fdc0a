"""Initialization and checks that several families share."""

from __future__ import annotations

from typing import Literal

from torch import nn

from synflow_bench.errors import ModelError


def kaiming_normal(
    model: nn.Module,
    fan: Literal["fan_in", "fan_out"] = "fan_in",
    layers: tuple[type[nn.Conv2d | nn.Linear], ...] = (nn.Conv2d, nn.Linear),
) -> None:
    """Draw the weights of `layers` from N(0, 2 / fan) and set their biases to zero.

    Other layers stay as they are; PyTorch gives batch norms scale one and shift zero. All draws come from
    PyTorch's global generator.

    He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852.
    """
    for module in model.modules():
        if isinstance(module, layers):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def check_sides(name: str, input_shape: tuple[int, int, int], least: int) -> None:
    """Raise `ModelError` if a side of `input_shape` is below `least`, because pooling would leave nothing."""
    channels, *sides = input_shape
    if min(sides) < least:
        raise ModelError(
            f"input {'x'.join(map(str, input_shape))} is too small for {name}: "
            f"it needs at least {channels}x{least}x{least}"
        )
