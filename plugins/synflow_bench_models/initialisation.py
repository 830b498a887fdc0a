"""How the networks of the lottery family are initialised."""

from __future__ import annotations

from torch import nn


def kaiming_normal(model: nn.Module) -> None:
    """Draw the weights of convolutional and linear layers from N(0, 2 / fan_in) and set their biases to zero.

    Draws from torch's global generator. Batch norms keep torch's default: scale one, shift zero.

    He et al., "Delving Deep into Rectifiers", 2015, arXiv 1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
