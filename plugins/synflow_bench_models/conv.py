"""A small convolutional network."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

CHANNELS = 32


def conv(input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Two 3x3 convolutions of 32 channels with ReLU, and a linear classifier; initialised by torch.

    Maps (N, *input_shape) to logits (N, num_classes), for any `input_shape` (C, H, W). The convolutions keep
    H and W.
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
