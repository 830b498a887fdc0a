"""VGG networks for Tiny ImageNet: the published plans with a classifier of half the published size or less.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
arXiv 1409.1556.
Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", 2020,
arXiv 2006.05467, has them in its experiments.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from synflow_bench_models.initialisation import kaiming_normal
from synflow_bench_models.vgg_plan import STAGES, WIDTHS, check_sides, vgg_features

HIDDEN = 1024
SHRINKAGE = 2 ** len(WIDTHS)
"""How many times smaller the max-pools make a side; also the shortest side that is left anything."""


@dataclass(frozen=True)
class TinyImagenetVGG:
    """Builds a VGG of `depth` layers, with batch norm after each convolution if `batch_norm`."""

    depth: int
    batch_norm: bool = False

    def __call__(self, input_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes).

        The classifier reads every position that the five max-pools leave (2048 numbers at 64x64), has two
        hidden layers of 1024 units and dropout after each. Convolutions are Kaiming normal over the fan out,
        linear layers N(0, 0.01), biases zero. Raises `ModelError` below 32x32.
        """
        check_sides(self.name, input_shape, SHRINKAGE)
        channels, height, width = input_shape
        features = vgg_features(self.depth, channels, batch_norm=self.batch_norm)
        features["pool5"] = nn.MaxPool2d(2)
        inputs = WIDTHS[-1] * (height // SHRINKAGE) * (width // SHRINKAGE)
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                features=nn.Sequential(features),
                flatten=nn.Flatten(),
                classifier=_classifier(inputs, num_classes),
            )
        )
        kaiming_normal(model, "fan_out", (nn.Conv2d,))
        return model

    @property
    def name(self) -> str:
        """The name under which it is registered."""
        return f"tinyimagenet/vgg{self.depth}{'-bn' if self.batch_norm else ''}"


def _classifier(inputs: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            linear1=_linear(inputs, HIDDEN),
            relu1=nn.ReLU(),
            dropout1=nn.Dropout(),
            linear2=_linear(HIDDEN, HIDDEN),
            relu2=nn.ReLU(),
            dropout2=nn.Dropout(),
            linear3=_linear(HIDDEN, num_classes),
        )
    )


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer


vgg11, vgg13, vgg16, vgg19 = (TinyImagenetVGG(depth) for depth in STAGES)
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (TinyImagenetVGG(depth, batch_norm=True) for depth in STAGES)
