"""Residual networks for small images, as in work on lottery tickets: a 1x1 convolution where shapes change.

He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385, section 4.2.
Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", 2020, arXiv 1912.05671.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor, nn

from synflow_bench_models.initialisation import kaiming_normal

DEPTHS = (20, 32, 44, 56, 110, 1202)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a shortcut.

    Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = _shortcut(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """The block's output after its last ReLU."""
        hidden = self.relu1(self.bn1(self.conv1(x)))
        output: Tensor = self.relu2(self.bn2(self.conv2(hidden)) + self.shortcut(x))
        return output


@dataclass(frozen=True)
class LotteryResNet:
    """Builds a residual network of `depth` layers, in stages of `width`, 2 `width` and 4 `width` channels."""

    depth: int
    width: int = 16

    def __call__(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes), for any `input_shape` (C, H, W)."""
        width, blocks = self.width, (self.depth - 2) // 6
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                stem=_normalised(input_shape[0], width, kernel_size=3, stride=1),
                relu=nn.ReLU(),
                stage1=_stage(width, width, blocks, stride=1),
                stage2=_stage(width, 2 * width, blocks, stride=2),
                stage3=_stage(2 * width, 4 * width, blocks, stride=2),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                classifier=nn.Linear(4 * width, num_classes),
            )
        )
        kaiming_normal(model)
        return model


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, stride=1) for _ in range(blocks - 1)))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if inputs == outputs and stride == 1:
        return nn.Identity()
    return _normalised(inputs, outputs, kernel_size=1, stride=stride)


def _normalised(inputs: int, outputs: int, kernel_size: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False),
            bn=nn.BatchNorm2d(outputs),
        )
    )


resnet20, resnet32, resnet44, resnet56, resnet110, resnet1202 = map(LotteryResNet, DEPTHS)
wide_resnet20, wide_resnet32, wide_resnet44, wide_resnet56, wide_resnet110, wide_resnet1202 = (
    LotteryResNet(depth, width=32) for depth in DEPTHS
)
