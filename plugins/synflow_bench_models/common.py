"""Initialization and checks that several families share."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Literal

from torch import Tensor, nn

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


def xavier_normal(model: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from N(0, 2 / (fan in + fan out)), biases zero.

    All draws come from PyTorch's global generator.

    Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_normal_(module.weight)
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


def lecun_normal(weight: Tensor) -> None:
    """Draw `weight` (outputs, inputs, ...) from a normal distribution with variance 1 / fan_in.

    It is cut at two deviations, as in the code of the authors of ViT and MLP-Mixer.

    LeCun et al., "Efficient BackProp", 1998.
    """
    deviation = 1 / sqrt(weight[0].numel()) / _CUT_DEVIATION
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


_CUT_DEVIATION = 0.87962566103423978
"""The standard deviation of a standard normal distribution that is cut at -2 and 2."""


def shape_of_images(name: str, input_shape: Sequence[int]) -> tuple[int, int, int]:
    """Return `input_shape` as (C, H, W).

    Raises:
        ModelError: It is no shape of an image.
    """
    if len(input_shape) != 3:
        raise ModelError(
            f"{name} takes images (channels, height, width), not inputs of shape {tuple(input_shape)}"
        )
    channels, height, width = input_shape
    return channels, height, width


PATCHES = (16, 8, 4, 2)
"""The sides of patches, in pixels."""
GRID = 7
"""The patches along the shorter side of an image, at least, where a smaller patch can give them."""


def patch_side(name: str, input_shape: tuple[int, int, int]) -> int:
    """Return the largest of `PATCHES` that divides an image into `GRID` patches or more along each side.

    An image that no patch divides so finely has patches of 2x2: 224x224 has 16x16, 32x32 and 28x28 have 4x4,
    8x8 has 2x2.

    Raises:
        ModelError: A side is odd.

    Example:
        >>> [patch_side("vit/tiny", (3, side, side)) for side in (224, 64, 32, 28, 8)]
        [16, 8, 4, 4, 2]
    """
    _, *sides = input_shape
    dividing = [patch for patch in PATCHES if all(side % patch == 0 for side in sides)]
    if not dividing:
        raise ModelError(
            f"input {'x'.join(map(str, input_shape))} does not divide into patches of 2x2 for {name}; "
            "it takes even heights and widths"
        )
    return next((patch for patch in dividing if min(sides) // patch >= GRID), dividing[-1])
