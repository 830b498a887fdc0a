"""VGG networks for small images and for Tiny ImageNet: five stages of 3x3 convolutions.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
arXiv 1409.1556.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from torch import nn

from synflow_bench.errors import ModelError
from synflow_bench_models.common import check_sides, kaiming_normal, xavier_normal

WIDTHS = (64, 128, 256, 512, 512)
"""Channels of the five stages; a max-pool of 2 stands between stages."""
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Depth -> convolutions in each stage."""
LOTTERY_REDUCTION = 2 ** (len(WIDTHS) - 1)
TINYIMAGENET_REDUCTION = 2 ** len(WIDTHS)
"""Factor by which the max-pools shorten a side, which is also the shortest side that they accept."""
HIDDEN = 1024
"""Units of the hidden linear layers for Tiny ImageNet."""

Initialization = Literal["kaiming", "xavier"]


@dataclass(frozen=True)
class LotteryVGG:
    """VGG for small images, with one linear layer.

    The published plan without its last max-pool, as in experiments on lottery tickets. Weights are Kaiming
    normal over the fan in, or Xavier normal; biases are zero.

    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    arXiv 1409.1556.
    Frankle & Carbin, "The Lottery Ticket Hypothesis", 2019, arXiv 1803.03635.

    Attributes:
        depth: 11, 13, 16 or 19, as published; two less than that are here, because one linear layer takes
            the place of three.
        batch_norm: Put a batch norm after each convolution.

    Example:
        >>> LotteryVGG(16, batch_norm=True)((3, 32, 32), 10).classifier
        Linear(in_features=512, out_features=10, bias=True)
    """

    depth: int
    batch_norm: bool = False

    def __call__(
        self,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        initialization: Initialization = "kaiming",
    ) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes).

        Average pooling by 2 follows the last stage, or by 1 along a side of which only 1 is left. The
        classifier reads every position that is left: 512 numbers from 16x16 to 63x63.

        Args:
            input_shape: Channels, height and width of an image.
            num_classes: The number of classes.
            initialization: "kaiming" or "xavier", which is that of figure 5b of Tanaka et al. 2020, arXiv
                2006.05467.

        Raises:
            ModelError: A side is below 16, or the initialization is another.
        """
        if initialization not in get_args(Initialization):
            raise ModelError(f"unknown initialization {initialization!r}; choose 'kaiming' or 'xavier'")
        check_sides(_name("lottery", self.depth, self.batch_norm), input_shape, LOTTERY_REDUCTION)
        channels, *sides = input_shape
        height, width = (side // LOTTERY_REDUCTION for side in sides)
        window = (min(2, height), min(2, width))
        positions = (height // window[0]) * (width // window[1])
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                features=nn.Sequential(OrderedDict(_features(self.depth, channels, self.batch_norm))),
                pool=nn.AvgPool2d(window),
                flatten=nn.Flatten(),
                classifier=nn.Linear(WIDTHS[-1] * positions, num_classes),
            )
        )
        {"kaiming": kaiming_normal, "xavier": xavier_normal}[initialization](model)
        return model


@dataclass(frozen=True)
class TinyImagenetVGG:
    """VGG for Tiny ImageNet, with three linear layers.

    The published plan with all five max-pools, and two hidden linear layers of 1024 units, each followed by
    dropout. Convolutions are Kaiming normal over the fan out, linear layers N(0, 0.01), biases zero.

    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    arXiv 1409.1556.
    Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020,
    arXiv 2006.05467, uses it in its experiments.

    Attributes:
        depth: 11, 13, 16 or 19, as published.
        batch_norm: Put a batch norm after each convolution.

    Example:
        >>> TinyImagenetVGG(11)((3, 64, 64), 200).classifier.linear1
        Linear(in_features=2048, out_features=1024, bias=True)
    """

    depth: int
    batch_norm: bool = False

    def __call__(self, input_shape: tuple[int, int, int] = (3, 64, 64), num_classes: int = 200) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes).

        The classifier reads every position that the max-pools leave: 2048 numbers at 64x64.

        Raises:
            ModelError: A side is below 32.
        """
        check_sides(_name("tinyimagenet", self.depth, self.batch_norm), input_shape, TINYIMAGENET_REDUCTION)
        channels, height, width = input_shape
        features = OrderedDict(_features(self.depth, channels, self.batch_norm), pool5=nn.MaxPool2d(2))
        inputs = WIDTHS[-1] * (height // TINYIMAGENET_REDUCTION) * (width // TINYIMAGENET_REDUCTION)
        classifier = OrderedDict[str, nn.Module](
            linear1=_linear(inputs, HIDDEN),
            relu1=nn.ReLU(),
            dropout1=nn.Dropout(),
            linear2=_linear(HIDDEN, HIDDEN),
            relu2=nn.ReLU(),
            dropout2=nn.Dropout(),
            linear3=_linear(HIDDEN, num_classes),
        )
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                features=nn.Sequential(features),
                flatten=nn.Flatten(),
                classifier=nn.Sequential(classifier),
            )
        )
        kaiming_normal(model, "fan_out", (nn.Conv2d,))
        return model


def _features(depth: int, channels: int, batch_norm: bool) -> Iterator[tuple[str, nn.Module]]:
    """Yield the named layers of all five stages, with a max-pool between stages and none after the last."""
    for stage, (width, count) in enumerate(zip(WIDTHS, STAGES[depth], strict=True), start=1):
        if stage > 1:
            yield f"pool{stage - 1}", nn.MaxPool2d(2)
        for i in range(1, count + 1):
            yield f"conv{stage}_{i}", nn.Conv2d(channels, width, kernel_size=3, padding=1)
            if batch_norm:
                yield f"bn{stage}_{i}", nn.BatchNorm2d(width)
            yield f"relu{stage}_{i}", nn.ReLU()
            channels = width


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


def _name(family: str, depth: int, batch_norm: bool) -> str:
    return f"{family}/vgg{depth}{'-bn' if batch_norm else ''}"


lottery_vgg11 = LotteryVGG(11)
lottery_vgg13 = LotteryVGG(13)
lottery_vgg16 = LotteryVGG(16)
lottery_vgg19 = LotteryVGG(19)
lottery_vgg11_bn = LotteryVGG(11, batch_norm=True)
lottery_vgg13_bn = LotteryVGG(13, batch_norm=True)
lottery_vgg16_bn = LotteryVGG(16, batch_norm=True)
lottery_vgg19_bn = LotteryVGG(19, batch_norm=True)
tinyimagenet_vgg11 = TinyImagenetVGG(11)
tinyimagenet_vgg13 = TinyImagenetVGG(13)
tinyimagenet_vgg16 = TinyImagenetVGG(16)
tinyimagenet_vgg19 = TinyImagenetVGG(19)
tinyimagenet_vgg11_bn = TinyImagenetVGG(11, batch_norm=True)
tinyimagenet_vgg13_bn = TinyImagenetVGG(13, batch_norm=True)
tinyimagenet_vgg16_bn = TinyImagenetVGG(16, batch_norm=True)
tinyimagenet_vgg19_bn = TinyImagenetVGG(19, batch_norm=True)
