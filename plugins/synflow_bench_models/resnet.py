"""Residual networks for small images and for Tiny ImageNet."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from synflow_bench import ResidualScale
from synflow_bench_models.common import kaiming_normal

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> blocks in each stage, for Tiny ImageNet."""
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
"""Channels that leave a bottleneck per channel inside it, before any widening."""


def conv_bn(inputs: int, outputs: int, kernel_size: int, stride: int) -> nn.Sequential:
    """A convolution without bias, padded to keep the sides up to its stride, and a batch norm."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False),
            bn=nn.BatchNorm2d(outputs),
        )
    )


def shortcut(inputs: int, outputs: int, stride: int, *, residual: bool) -> nn.Module:
    """The identity, or a 1x1 convolution with batch norm if the shape changes.

    With `residual`, a prunable scale of ones takes the place of the identity.
    """
    if inputs != outputs or stride != 1:
        return conv_bn(inputs, outputs, kernel_size=1, stride=stride)
    return ResidualScale(outputs) if residual else nn.Identity()


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm, added to a shortcut.

    Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up.

    He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, residual: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride, residual=residual)
        self.relu2 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output after the last ReLU."""
        hidden = self.relu1(self.bn1(self.conv1(x)))
        output: Tensor = self.relu2(self.bn2(self.conv2(hidden)) + self.shortcut(x))
        return output


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution with batch norm, added to a shortcut; `width` channels inside.

    Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up; the 3x3 convolution has the
    stride.

    He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
    """

    def __init__(self, inputs: int, width: int, outputs: int, stride: int, *, residual: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, kernel_size=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu2 = nn.ReLU()
        self.conv3 = nn.Conv2d(width, outputs, kernel_size=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride, residual=residual)
        self.relu3 = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Compute the output after the last ReLU."""
        hidden = self.relu1(self.bn1(self.conv1(x)))
        hidden = self.relu2(self.bn2(self.conv2(hidden)))
        output: Tensor = self.relu3(self.bn3(self.conv3(hidden)) + self.shortcut(x))
        return output


@dataclass(frozen=True)
class LotteryResNet:
    """ResNet for small images, in three stages of basic blocks.

    As in experiments on lottery tickets, a 1x1 convolution is the shortcut where the shape changes. Weights
    are Kaiming normal over the fan in, biases zero.

    He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385, section 4.2.
    Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", 2020, arXiv 1912.05671.

    Attributes:
        depth: Layers without shortcuts: 6 n + 2 for n blocks per stage.
        width: Channels of the first stage; the next have 2 and 4 times as many.

    Example:
        >>> LotteryResNet(20)((3, 32, 32), 10).classifier
        Linear(in_features=64, out_features=10, bias=True)
    """

    depth: int
    width: int = 16

    def __call__(
        self,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        *,
        residual: bool = False,
    ) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes), for any shape (C, H, W).

        With `residual`, identity shortcuts have prunable scales of ones.
        """
        width, blocks = self.width, (self.depth - 2) // 6
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                stem=conv_bn(input_shape[0], width, kernel_size=3, stride=1),
                relu=nn.ReLU(),
                stage1=self._stage(width, width, blocks, stride=1, residual=residual),
                stage2=self._stage(width, 2 * width, blocks, stride=2, residual=residual),
                stage3=self._stage(2 * width, 4 * width, blocks, stride=2, residual=residual),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                classifier=nn.Linear(4 * width, num_classes),
            )
        )
        kaiming_normal(model)
        return model

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int, *, residual: bool) -> nn.Sequential:
        first = BasicBlock(inputs, outputs, stride, residual=residual)
        rest = (BasicBlock(outputs, outputs, stride=1, residual=residual) for _ in range(blocks - 1))
        return nn.Sequential(first, *rest)


@dataclass(frozen=True)
class TinyImagenetResNet:
    """ResNet for Tiny ImageNet, with a 3x3 stem and no stem pool.

    Otherwise the published network for ImageNet, with basic blocks up to depth 34 and bottlenecks from 50.
    Convolutions are Kaiming normal over the fan out; the classifier has PyTorch's initialization.

    He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
    Zagoruyko & Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146.

    Attributes:
        depth: 18, 34, 50, 101 or 152.
        widening: Factor on all channels of a network of basic blocks, and on the channels inside the blocks
            of a network of bottlenecks, as in Zagoruyko & Komodakis.

    Example:
        >>> TinyImagenetResNet(18)((3, 64, 64), 200).classifier
        Linear(in_features=512, out_features=200, bias=True)
    """

    depth: int
    widening: int = 1

    def __call__(
        self,
        input_shape: tuple[int, int, int] = (3, 64, 64),
        num_classes: int = 200,
        *,
        residual: bool = False,
    ) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes), for any shape (C, H, W).

        With `residual`, identity shortcuts have prunable scales of ones.
        """
        stem, outputs = self._channels()
        inputs = (stem, *outputs)
        layers = OrderedDict[str, nn.Module](
            stem=conv_bn(input_shape[0], stem, kernel_size=3, stride=1), relu=nn.ReLU()
        )
        for i in range(len(WIDTHS)):
            layers[f"stage{i + 1}"] = nn.Sequential(*self._stage(i, inputs[i], outputs[i], residual))
        layers["pool"] = nn.AdaptiveAvgPool2d(1)
        layers["flatten"] = nn.Flatten()
        layers["classifier"] = nn.Linear(outputs[-1], num_classes)
        model = nn.Sequential(layers)
        kaiming_normal(model, "fan_out", (nn.Conv2d,))
        return model

    @property
    def _has_bottlenecks(self) -> bool:
        return self.depth >= 50

    def _channels(self) -> tuple[int, tuple[int, ...]]:
        """Channels that leave the stem, and those that leave each stage."""
        if self._has_bottlenecks:
            return WIDTHS[0], tuple(EXPANSION * width for width in WIDTHS)
        return self.widening * WIDTHS[0], tuple(self.widening * width for width in WIDTHS)

    def _stage(self, index: int, inputs: int, outputs: int, residual: bool) -> Iterator[nn.Module]:
        width = self.widening * WIDTHS[index]
        for block in range(STAGES[self.depth][index]):
            stride = 2 if index > 0 and block == 0 else 1
            if self._has_bottlenecks:
                yield Bottleneck(inputs, width, outputs, stride, residual=residual)
            else:
                yield BasicBlock(inputs, outputs, stride, residual=residual)
            inputs = outputs


lottery_resnet20 = LotteryResNet(20)
lottery_resnet32 = LotteryResNet(32)
lottery_resnet44 = LotteryResNet(44)
lottery_resnet56 = LotteryResNet(56)
lottery_resnet110 = LotteryResNet(110)
lottery_resnet1202 = LotteryResNet(1202)
lottery_wide_resnet20 = LotteryResNet(20, width=32)
lottery_wide_resnet32 = LotteryResNet(32, width=32)
lottery_wide_resnet44 = LotteryResNet(44, width=32)
lottery_wide_resnet56 = LotteryResNet(56, width=32)
lottery_wide_resnet110 = LotteryResNet(110, width=32)
lottery_wide_resnet1202 = LotteryResNet(1202, width=32)
tinyimagenet_resnet18 = TinyImagenetResNet(18)
tinyimagenet_resnet34 = TinyImagenetResNet(34)
tinyimagenet_resnet50 = TinyImagenetResNet(50)
tinyimagenet_resnet101 = TinyImagenetResNet(101)
tinyimagenet_resnet152 = TinyImagenetResNet(152)
tinyimagenet_wide_resnet18 = TinyImagenetResNet(18, widening=2)
tinyimagenet_wide_resnet34 = TinyImagenetResNet(34, widening=2)
tinyimagenet_wide_resnet50 = TinyImagenetResNet(50, widening=2)
tinyimagenet_wide_resnet101 = TinyImagenetResNet(101, widening=2)
tinyimagenet_wide_resnet152 = TinyImagenetResNet(152, widening=2)
