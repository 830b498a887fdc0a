"""The VGG and residual networks of torchvision for ImageNet, with their published weights on request."""

from __future__ import annotations

import pickle
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import torch
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck

from synflow_bench import ResidualScale
from synflow_bench.errors import ModelError, one_line
from synflow_bench_models.common import check_sides

COLORS, CLASSES = 3, 1000
"""Input channels and classes of the published weights."""
VGG_REDUCTION = 32
"""Factor by which the max-pools of a VGG shorten a side, which is also the shortest side that they accept."""


@dataclass(frozen=True)
class ImagenetVGG:
    """VGG of torchvision for ImageNet.

    Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
    arXiv 1409.1556.

    Attributes:
        builder: Name of the network in torchvision, such as `vgg16_bn`.

    Example:
        >>> with torch.device("meta"):
        ...     network = ImagenetVGG("vgg11")()
        >>> sum(weight.numel() for weight in network.parameters())
        132863336
    """

    builder: str

    def __call__(
        self,
        input_shape: tuple[int, int, int] = (COLORS, 224, 224),
        num_classes: int = CLASSES,
        *,
        pretrained: bool = False,
    ) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes).

        Adaptive pooling brings whatever is left of H and W to 7x7. `pretrained` loads the first weights that
        torchvision published, for 3 channels and 1000 classes.

        Raises:
            ModelError: A side is below 32, or pretrained weights do not fit or cannot be downloaded.
        """
        name = f"imagenet/{self.builder.replace('_', '-')}"
        check_sides(name, input_shape, VGG_REDUCTION)
        return _network(self.builder, name, input_shape[0], num_classes, pretrained)


@dataclass(frozen=True)
class ImagenetResNet:
    """ResNet of torchvision for ImageNet.

    He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
    Zagoruyko & Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146.

    Attributes:
        builder: Name of the network in torchvision, such as `wide_resnet50_2`.

    Example:
        >>> with torch.device("meta"):
        ...     network = ImagenetResNet("resnet18")()
        >>> sum(weight.numel() for weight in network.parameters())
        11689512
    """

    builder: str

    def __call__(
        self,
        input_shape: tuple[int, int, int] = (COLORS, 224, 224),
        num_classes: int = CLASSES,
        *,
        pretrained: bool = False,
        residual: bool = False,
    ) -> nn.Module:
        """Build the network from (N, *input_shape) to logits (N, num_classes), for any shape (C, H, W).

        `pretrained` loads the first weights that torchvision published, for 3 channels and 1000 classes. With
        `residual`, identity shortcuts have prunable scales of ones.

        Raises:
            ModelError: Pretrained weights do not fit or cannot be downloaded.
        """
        name = f"imagenet/{self.builder.replace('_', '-').removesuffix('-2')}"
        model = _network(self.builder, name, input_shape[0], num_classes, pretrained)
        if residual:
            _scale_identities(model)
        return model


def _network(builder: str, name: str, channels: int, num_classes: int, pretrained: bool) -> nn.Module:
    if pretrained:
        return _pretrained_network(builder, name, channels, num_classes)
    model: nn.Module = get_model(builder, weights=None, num_classes=num_classes)
    if channels != COLORS:
        first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
        first.in_channels = channels
        first.weight = nn.Parameter(torch.empty(first.out_channels, channels, *first.kernel_size))
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
    return model


def _pretrained_network(builder: str, name: str, channels: int, num_classes: int) -> nn.Module:
    """Build a network with torchvision's weights `IMAGENET1K_V1`, from the folder of `torch.hub`.

    Missing weights are downloaded, and only tensors are unpickled. On the meta device, which has no values,
    none are loaded.
    """
    if (channels, num_classes) != (COLORS, CLASSES):
        raise ModelError(
            f"{name} has pretrained weights for {COLORS} channels and {CLASSES} classes, not for {channels} "
            f"and {num_classes}; leave out `pretrained`"
        )
    model: nn.Module = get_model(builder, weights=None)
    if next(model.parameters()).is_meta:
        return model
    weights = get_model_weights(builder)["IMAGENET1K_V1"]
    path = Path(torch.hub.get_dir(), "checkpoints", Path(urlsplit(weights.url).path).name)
    try:
        with redirect_stdout(sys.stderr):  # torch.hub prints about a download, and stdout is for results
            state = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
        model.load_state_dict(state)
    except (OSError, HTTPException) as error:
        cause = one_line(error, with_type=False)
        raise ModelError(
            f"could not download the weights of {name}: {cause}; save {weights.url} as {path}"
        ) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise ModelError(
            f"{path} does not hold the weights of {name}; delete it to download it again"
        ) from error
    return model


def _scale_identities(model: nn.Module) -> None:
    for block in model.modules():
        if isinstance(block, BasicBlock | Bottleneck) and block.downsample is None:
            last = block.bn3 if isinstance(block, Bottleneck) else block.bn2
            block.downsample = ResidualScale(last.num_features)


imagenet_vgg11 = ImagenetVGG("vgg11")
imagenet_vgg13 = ImagenetVGG("vgg13")
imagenet_vgg16 = ImagenetVGG("vgg16")
imagenet_vgg19 = ImagenetVGG("vgg19")
imagenet_vgg11_bn = ImagenetVGG("vgg11_bn")
imagenet_vgg13_bn = ImagenetVGG("vgg13_bn")
imagenet_vgg16_bn = ImagenetVGG("vgg16_bn")
imagenet_vgg19_bn = ImagenetVGG("vgg19_bn")
imagenet_resnet18 = ImagenetResNet("resnet18")
imagenet_resnet34 = ImagenetResNet("resnet34")
imagenet_resnet50 = ImagenetResNet("resnet50")
imagenet_resnet101 = ImagenetResNet("resnet101")
imagenet_resnet152 = ImagenetResNet("resnet152")
imagenet_wide_resnet50 = ImagenetResNet("wide_resnet50_2")
imagenet_wide_resnet101 = ImagenetResNet("wide_resnet101_2")
