"""A fully connected network."""

from __future__ import annotations

from collections import OrderedDict
from math import prod

from torch import nn

HIDDEN_LAYERS = 5
HIDDEN_UNITS = 100


def fc(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Five hidden linear layers of 100 units with ReLU, and a linear classifier; initialised by torch.

    Maps (N, *input_shape) to logits (N, num_classes), for any `input_shape` (C, H, W).
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(input_shape)
    for i in range(1, HIDDEN_LAYERS + 1):
        layers[f"linear{i}"] = nn.Linear(inputs, HIDDEN_UNITS)
        layers[f"relu{i}"] = nn.ReLU()
        inputs = HIDDEN_UNITS
    layers["classifier"] = nn.Linear(inputs, num_classes)
    return nn.Sequential(layers)
