"""How weights are drawn, where torch's own way is not meant. All draws are from torch's global generator."""

from __future__ import annotations

from typing import Literal

from torch import nn


def kaiming_normal(
    model: nn.Module,
    fan: Literal["fan_in", "fan_out"] = "fan_in",
    layers: tuple[type[nn.Conv2d | nn.Linear], ...] = (nn.Conv2d, nn.Linear),
) -> None:
    """Draw the weights of `layers` from N(0, 2 / fan) and set their biases to zero.

    Other layers keep what they have; batch norms torch's default, scale one and shift zero.
    He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852.
    """
    for module in model.modules():
        if isinstance(module, layers):
            nn.init.kaiming_normal_(module.weight, mode=fan, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
