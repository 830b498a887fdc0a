"""MLP-Mixer: linear layers across the patches of an image, and across the channels."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from synflow_bench_models.common import lecun_normal, patch_side, shape_of_images

WIDTH, BLOCKS = 192, 8
TOKENS, CHANNELS = WIDTH // 2, 4 * WIDTH
"""Hidden units of the linear layers across patches, and of those across channels."""


def _two_layers(units: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            linear1=nn.Linear(units, hidden), gelu=nn.GELU(), linear2=nn.Linear(hidden, units)
        )
    )


class MixerBlock(nn.Module):
    """Two linear layers across patches and two across channels, each pair behind a layer norm and added."""

    def __init__(self, patches: int, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.tokens = _two_layers(patches, TOKENS)
        self.norm2 = nn.LayerNorm(width)
        self.channels = _two_layers(width, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, patches, width) to the same shape."""
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        output: Tensor = x + self.channels(self.norm2(x))
        return output


class Mixer(nn.Module):
    """Patches through mixer blocks; the classifier reads the mean over the patches."""

    def __init__(self, input_shape: tuple[int, int, int], patch: int, num_classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        patches = (height // patch) * (width // patch)
        self.patches = nn.Conv2d(channels, WIDTH, patch, stride=patch)
        self.blocks = nn.Sequential(*(MixerBlock(patches, WIDTH) for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.classifier = nn.Linear(WIDTH, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
                lecun_normal(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, num_classes)."""
        x = self.blocks(self.patches(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.classifier(self.norm(x).mean(dim=1))
        return logits


def mixer_tiny(input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10) -> nn.Module:
    """MLP-Mixer of 8 blocks and width 192.

    The paper's smallest network, Mixer-S, with the width of ViT-Ti: hidden layers of 96 units across patches
    and of 768 across channels. Patches are 16x16 for 224x224, 4x4 for 32x32 and 28x28, 2x2 for 8x8. Weights
    are drawn with deviation 1 / sqrt(fan_in), biases are zero. The authors' classifier starts at zero; this
    one does not, because no gradient would reach the other layers before the first step.

    Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021, arXiv 2105.01601.

    Args:
        input_shape: A shape (C, H, W) with even H and W.
        num_classes: Number of logits.

    Returns:
        A network from (N, C, H, W) to logits (N, num_classes).

    Raises:
        ModelError: The image does not divide into patches.

    Example:
        >>> sum(weight.numel() for weight in mixer_tiny((3, 32, 32), 10).parameters())
        2484426
    """
    shape = shape_of_images("mixer/tiny", input_shape)
    return Mixer(shape, patch_side("mixer/tiny", shape), num_classes)
