"""Two small networks, with PyTorch's own initialization."""

from __future__ import annotations

from collections import OrderedDict
from math import prod

from torch import nn

HIDDEN_LAYERS = 5
HIDDEN_UNITS = 100
CHANNELS = 32


def fc(input_shape: tuple[int, int, int] = (1, 28, 28), num_classes: int = 10) -> nn.Module:
    """Fully connected network with five hidden layers of 100.

    Hidden layers are linear layers with ReLU, followed by a linear classifier.

    Args:
        input_shape: Any shape (C, H, W) of one image.
        num_classes: Number of logits.

    Returns:
        A network from (N, C, H, W) to logits (N, num_classes).

    Example:
        >>> sum(weight.numel() for weight in fc((1, 28, 28), 10).parameters())
        119910
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(input_shape)
    for i in range(1, HIDDEN_LAYERS + 1):
        layers[f"linear{i}"] = nn.Linear(inputs, HIDDEN_UNITS)
        layers[f"relu{i}"] = nn.ReLU()
        inputs = HIDDEN_UNITS
    layers["classifier"] = nn.Linear(inputs, num_classes)
    return nn.Sequential(layers)


def conv(input_shape: tuple[int, int, int] = (1, 28, 28), num_classes: int = 10) -> nn.Module:
    """Two 3x3 convolutions of 32 channels, and a classifier.

    The convolutions keep H and W and have ReLU; the classifier is one linear layer.

    Args:
        input_shape: Any shape (C, H, W) of one image.
        num_classes: Number of logits.

    Returns:
        A network from (N, C, H, W) to logits (N, num_classes).

    Example:
        >>> conv((1, 28, 28), 10).classifier
        Linear(in_features=25088, out_features=10, bias=True)
    """
    channels, height, width = input_shape
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(channels, CHANNELS, kernel_size=3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, padding=1),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            classifier=nn.Linear(CHANNELS * height * width, num_classes),
        )
    )
