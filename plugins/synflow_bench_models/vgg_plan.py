"""What all VGG networks share: five stages of 3x3 convolutions.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
arXiv 1409.1556.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from torch import nn

from synflow_bench.errors import ModelError

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five stages; a max-pool of 2 stands between stages."""
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions in each stage."""


def vgg_features(depth: int, channels: int, *, batch_norm: bool) -> OrderedDict[str, nn.Module]:
    """The stages of a VGG of `depth` layers for `channels` input channels, without a last pool."""
    return OrderedDict(_features(depth, channels, batch_norm))


def _features(depth: int, channels: int, batch_norm: bool) -> Iterator[tuple[str, nn.Module]]:
    for stage, (width, count) in enumerate(zip(WIDTHS, STAGES[depth], strict=True), start=1):
        if stage > 1:
            yield f"pool{stage - 1}", nn.MaxPool2d(2)
        for i in range(1, count + 1):
            yield f"conv{stage}_{i}", nn.Conv2d(channels, width, kernel_size=3, padding=1)
            if batch_norm:
                yield f"bn{stage}_{i}", nn.BatchNorm2d(width)
            yield f"relu{stage}_{i}", nn.ReLU()
            channels = width


def check_sides(name: str, input_shape: tuple[int, int, int], least: int) -> None:
    """Raise `ModelError` where a side of `input_shape` is below `least`: pooling would use it up."""
    channels, *sides = input_shape
    if min(sides) < least:
        raise ModelError(
            f"input {'x'.join(map(str, input_shape))} is too small for {name}: "
            f"it needs at least {channels}x{least}x{least}"
        )
