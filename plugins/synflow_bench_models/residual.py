"""What the residual networks share: convolutions with batch norm, and shortcuts."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from synflow_bench import ResidualScale


def normalised(inputs: int, outputs: int, kernel_size: int, stride: int) -> nn.Sequential:
    """A convolution without bias, padded to keep the sides but for the stride, and a batch norm."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False),
            bn=nn.BatchNorm2d(outputs),
        )
    )


def shortcut(inputs: int, outputs: int, stride: int, *, residual: bool) -> nn.Module:
    """The identity, or a 1x1 convolution with batch norm where the shape changes.

    With `residual` the identity gets a scale of ones that can be pruned.
    """
    if inputs != outputs or stride != 1:
        return normalised(inputs, outputs, kernel_size=1, stride=stride)
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
        """The block's output after its last ReLU."""
        hidden = self.relu1(self.bn1(self.conv1(x)))
        output: Tensor = self.relu2(self.bn2(self.conv2(hidden)) + self.shortcut(x))
        return output


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution with batch norm, added to a shortcut; `width` channels inside.

    Maps (N, inputs, H, W) to (N, outputs, H / stride, W / stride), rounded up; the 3x3 convolution has the
    stride. He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
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
        """The block's output after its last ReLU."""
        hidden = self.relu1(self.bn1(self.conv1(x)))
        hidden = self.relu2(self.bn2(self.conv2(hidden)))
        output: Tensor = self.relu3(self.bn3(self.conv3(hidden)) + self.shortcut(x))
        return output
