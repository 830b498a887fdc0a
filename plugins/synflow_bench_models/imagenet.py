"""torchvision's VGG and residual networks for ImageNet.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
arXiv 1409.1556.
He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
Zagoruyko & Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torchvision.models import get_model
from torchvision.models.resnet import BasicBlock, Bottleneck

from synflow_bench import ResidualScale
from synflow_bench_models.pretrained import COLOURS, pretrained_network
from synflow_bench_models.vgg_plan import check_sides

VGG_SHRINKAGE = 32


@dataclass(frozen=True)
class ImagenetVGG:
    """Builds the VGG that torchvision calls `builder`, with its initialisation."""

    builder: str

    def __call__(
        self, input_shape: tuple[int, int, int], num_classes: int, *, pretrained: bool = False
    ) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes); what is left of H and W is pooled to 7x7.

        `pretrained` loads torchvision's first published weights, for 3 channels and 1000 classes. Raises
        `ModelError` below 32x32, and where the weights do not fit or cannot be had.
        """
        name = f"imagenet/{self.builder.replace('_', '-')}"
        check_sides(name, input_shape, VGG_SHRINKAGE)
        if pretrained:
            return pretrained_network(self.builder, name, input_shape[0], num_classes)
        model: nn.Module = get_model(self.builder, weights=None, num_classes=num_classes)
        if input_shape[0] != COLOURS:
            _read_channels(_first_convolution(model), input_shape[0])
        return model


@dataclass(frozen=True)
class ImagenetResNet:
    """Builds the residual network that torchvision calls `builder`, with its initialisation."""

    builder: str

    def __call__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        pretrained: bool = False,
        residual: bool = False,
    ) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes), for any `input_shape` (C, H, W).

        `pretrained` loads torchvision's first published weights, for 3 channels and 1000 classes. With
        `residual` the identity shortcuts have scales of ones, which can be pruned. Raises `ModelError` where
        the weights do not fit or cannot be had.
        """
        name = f"imagenet/{self.builder.replace('_', '-').removesuffix('-2')}"
        if pretrained:
            model = pretrained_network(self.builder, name, input_shape[0], num_classes)
        else:
            model = get_model(self.builder, weights=None, num_classes=num_classes)
            if input_shape[0] != COLOURS:
                _read_channels(_first_convolution(model), input_shape[0])
        if residual:
            _scale_identities(model)
        return model


def _first_convolution(model: nn.Module) -> nn.Conv2d:
    return next(module for module in model.modules() if isinstance(module, nn.Conv2d))


def _read_channels(layer: nn.Conv2d, channels: int) -> None:
    """Let `layer` read another number of channels, initialised as torchvision does."""
    layer.in_channels = channels
    layer.weight = nn.Parameter(torch.empty(layer.out_channels, channels, *layer.kernel_size))
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def _scale_identities(model: nn.Module) -> None:
    for block in model.modules():
        if isinstance(block, BasicBlock | Bottleneck) and block.downsample is None:
            last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
            block.downsample = ResidualScale(last.num_features)


vgg11, vgg13, vgg16, vgg19 = (ImagenetVGG(f"vgg{depth}") for depth in (11, 13, 16, 19))
vgg11_bn, vgg13_bn, vgg16_bn, vgg19_bn = (ImagenetVGG(f"vgg{depth}_bn") for depth in (11, 13, 16, 19))
resnet18, resnet34, resnet50, resnet101, resnet152 = (
    ImagenetResNet(f"resnet{depth}") for depth in (18, 34, 50, 101, 152)
)
wide_resnet50, wide_resnet101 = (ImagenetResNet(f"wide_resnet{depth}_2") for depth in (50, 101))
