"""MobileNetV2 and ConvNeXt of torchvision, with stems for small images."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import convnext_tiny as published_convnext_tiny
from torchvision.models import mobilenet_v2 as published_mobilenet_v2

from synflow_bench_models.common import check_sides, shape_of_images

SMALL = 64
"""Images whose shorter side has so many pixels or fewer keep their size up to the third stage."""
PUBLISHED = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and first stride of the stages of MobileNetV2."""
CONVNEXT_REDUCTION = 8
"""Factor by which the stages of ConvNeXt shorten a side after the stem."""


def mobilenet_v2(input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10) -> nn.Module:
    """MobileNetV2 of torchvision: 17 inverted residual blocks with ReLU6.

    The strides of the stem and of the second stage are 1 for images of up to 64 pixels, as is usual for
    CIFAR: 32x32 becomes 4x4, 8x8 becomes 1x1. Larger images have the published strides. Convolutions are
    Kaiming normal over the fan out; the classifier is drawn with deviation 0.01, behind dropout of 0.2.

    Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", 2018, arXiv 1801.04381.

    Args:
        input_shape: Any shape (C, H, W) of one image.
        num_classes: Number of logits.

    Returns:
        A network from (N, C, H, W) to logits (N, num_classes).

    Raises:
        ModelError: The inputs are no images.

    Example:
        >>> sum(weight.numel() for weight in mobilenet_v2((3, 32, 32), 10).parameters())
        2236682
    """
    channels, *sides = shape_of_images("mobilenet/v2", input_shape)
    small = min(sides) <= SMALL
    stages = [[*stage] for stage in PUBLISHED]
    if small:
        stages[1][3] = 1
    model: nn.Module = published_mobilenet_v2(num_classes=num_classes, inverted_residual_setting=stages)
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if small:
        stem.stride = (1, 1)
    if channels != stem.in_channels:
        stem.in_channels = channels
        stem.weight = nn.Parameter(torch.empty(stem.out_channels, channels, *stem.kernel_size))
        nn.init.kaiming_normal_(stem.weight, mode="fan_out")
    return model


def convnext_tiny(input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10) -> nn.Module:
    """ConvNeXt-T of torchvision: stages of 3, 3, 9 and 3 blocks with 96, 192, 384 and 768 channels.

    The stem has the published patches of 4x4 where both sides are 32 or more, else 2x2 (from 16) or 1x1
    (from 8), so that the last stage has a position. Weights are drawn with deviation 0.02, biases are zero;
    layer scale starts at 1e-6, and training drops blocks with a probability that rises to 0.1.

    Liu et al., "A ConvNet for the 2020s", 2022, arXiv 2201.03545.

    Args:
        input_shape: A shape (C, H, W) with sides of 8 or more.
        num_classes: Number of logits.

    Returns:
        A network from (N, C, H, W) to logits (N, num_classes).

    Raises:
        ModelError: A side is below 8, or the inputs are no images.

    Example:
        >>> sum(weight.numel() for weight in convnext_tiny((3, 32, 32), 10).parameters())
        27827818
    """
    channels, *sides = shape_of_images("convnext/tiny", input_shape)
    check_sides("convnext/tiny", input_shape, CONVNEXT_REDUCTION)
    patch = next(patch for patch in (4, 2, 1) if min(sides) // patch >= CONVNEXT_REDUCTION)
    model: nn.Module = published_convnext_tiny(num_classes=num_classes)
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    if (channels, patch) != (stem.in_channels, *stem.stride[:1]):
        stem.in_channels, stem.kernel_size, stem.stride = channels, (patch, patch), (patch, patch)
        stem.weight = nn.Parameter(torch.empty(stem.out_channels, channels, patch, patch))
        nn.init.trunc_normal_(stem.weight, std=0.02)
    return model
