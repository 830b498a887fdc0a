"""VGG networks for small images, as in the experiments on lottery tickets: no last pool, one linear layer.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
arXiv 1409.1556.
Frankle & Carbin, "The Lottery Ticket Hypothesis", 2019, arXiv 1803.03635.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from synflow_bench_models.initialisation import kaiming_normal
from synflow_bench_models.vgg_plan import STAGES, WIDTHS, check_sides, vgg_features

SHRINKAGE = 2 ** (len(WIDTHS) - 1)
"""How many times smaller the max-pools make a side; also the shortest side that is left anything."""


@dataclass(frozen=True)
class LotteryVGG:
    """Builds a VGG of `depth` layers, with batch norm after each convolution if `batch_norm`."""

    depth: int
    batch_norm: bool = False

    def __call__(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes).

        The sizes follow the input: what the max-pools leave of H and W is average-pooled by 2, or by 1 along
        a side of which only 1 is left, and the classifier reads every position. From 16x16 to 63x63 it reads
        512 numbers. Raises `ModelError` below 16x16.
        """
        check_sides(self.name, input_shape, SHRINKAGE)
        channels, *sides = input_shape
        height, width = (side // SHRINKAGE for side in sides)
        window = (min(2, height), min(2, width))
        positions = (height // window[0]) * (width // window[1])
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                features=nn.Sequential(vgg_features(self.depth, channels, batch_norm=self.batch_norm)),
                pool=nn.AvgPool2d(window),
                flatten=nn.Flatten(),
                classifier=nn.Linear(WIDTHS[-1] * positions, num_classes),
            )
        )
        kaiming_normal(model)
        return model

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return f"lottery/vgg{self.depth}{'-bn' if self.batch_norm else ''}"


vgg11, vgg13, vgg16, vgg19 = (LotteryVGG(depth) for depth in STAGES)
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (LotteryVGG(depth, batch_norm=True) for depth in STAGES)
