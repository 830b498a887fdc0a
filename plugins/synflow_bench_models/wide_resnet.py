"""Wide residual networks with pre-activation blocks, for small images."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from synflow_bench import ResidualScale
from synflow_bench_models.common import kaiming_normal, shape_of_images

WIDTHS = (16, 32, 64)
"""Channels of the three groups, before widening; the stem has 16."""


class PreActivationBlock(nn.Module):
    """Two 3x3 convolutions, each behind a batch norm and ReLU, added to a shortcut.

    The shortcut is the identity; where the shape changes, it is a 1x1 convolution after the first ReLU.
    Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up.

    He et al., "Identity Mappings in Deep Residual Networks", 2016, arXiv 1603.05027.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, residual: bool = False) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.keeps_shape = inputs == outputs and stride == 1
        self.shortcut: nn.Module
        if self.keeps_shape:
            self.shortcut = ResidualScale(outputs) if residual else nn.Identity()
        else:
            self.shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the sum; the next block normalizes it."""
        active = self.relu1(self.bn1(x))
        hidden = self.relu2(self.bn2(self.conv1(active)))
        output: Tensor = self.conv2(hidden) + self.shortcut(x if self.keeps_shape else active)
        return output


@dataclass(frozen=True)
class WideResNet:
    """Wide residual network for small images, in three groups of pre-activation blocks without dropout.

    Convolutions are Kaiming normal over the fan out; the classifier has PyTorch's weights and a bias of zero.

    Zagoruyko & Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146.

    Attributes:
        depth: Convolutions, those of shortcuts included: 6 n + 4 for n blocks per group.
        widening: Factor on the channels of the groups: 16, 32 and 64.

    Example:
        >>> network = WideResNet(16, 8)((3, 32, 32), 10)
        >>> sum(weight.numel() for weight in network.parameters())
        10961370
    """

    depth: int
    widening: int

    def __call__(
        self,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        *,
        residual: bool = False,
    ) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes), for any shape (C, H, W).

        With `residual`, identity shortcuts have prunable scales of ones.

        Raises:
            ModelError: The inputs are no images.
        """
        channels, _, _ = shape_of_images(f"wrn-{self.depth}-{self.widening}", input_shape)
        blocks, inputs = (self.depth - 4) // 6, WIDTHS[0]
        layers = OrderedDict[str, nn.Module](
            stem=nn.Conv2d(channels, inputs, kernel_size=3, padding=1, bias=False)
        )
        for index, width in enumerate(WIDTHS):
            outputs, group = self.widening * width, []
            for block in range(blocks):
                stride = 2 if index > 0 and block == 0 else 1
                group.append(PreActivationBlock(inputs, outputs, stride, residual=residual))
                inputs = outputs
            layers[f"group{index + 1}"] = nn.Sequential(*group)
        layers["bn"] = nn.BatchNorm2d(inputs)
        layers["relu"] = nn.ReLU()
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        classifier = layers["classifier"] = nn.Linear(inputs, num_classes)
        model = nn.Sequential(layers)
        kaiming_normal(model, "fan_out", (nn.Conv2d,))
        nn.init.zeros_(classifier.bias)
        return model


wrn_28_10 = WideResNet(28, 10)
wrn_16_8 = WideResNet(16, 8)
