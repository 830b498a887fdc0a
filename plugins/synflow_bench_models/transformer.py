"""Transformers: a vision transformer, and a character model."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from synflow_bench.errors import ModelError
from synflow_bench_models.common import lecun_normal, patch_side, shape_of_images

EXPANSION = 4
"""Hidden units of the feed-forward part of a block, per unit of the width."""
DEVIATION = 0.02
"""The standard deviation of initial weights, in both papers."""


class Attention(nn.Module):
    """Multi-head self-attention; one linear layer computes queries, keys and values.

    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762.
    """

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, length, width) to the same shape; with `causal`, no position sees a later one."""
        queries, keys, values = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind()
        mixed = scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        output: Tensor = self.projection(mixed.transpose(1, 2).flatten(2))
        return output


class Block(nn.Module):
    """Attention, and two linear layers with a GELU, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int, *, causal: bool = False) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads, causal=causal)
        self.norm2 = nn.LayerNorm(width)
        self.linear1 = nn.Linear(width, EXPANSION * width)
        self.gelu = nn.GELU()
        self.linear2 = nn.Linear(EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, length, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        output: Tensor = x + self.linear2(self.gelu(self.linear1(self.norm2(x))))
        return output


def _initialize(model: nn.Module) -> None:
    """Draw linear weights, embeddings, tokens and positions with deviation 0.02; biases are zero."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=DEVIATION)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for parameter in model.parameters(recurse=False):
        nn.init.normal_(parameter, std=DEVIATION)


class VisionTransformer(nn.Module):
    """Patches and a class token through blocks of attention; the classifier reads the class token."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        patch: int,
        num_classes: int,
        width: int,
        blocks: int,
        heads: int,
    ) -> None:
        super().__init__()
        channels, height, other = input_shape
        length = (height // patch) * (other // patch) + 1
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, length, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, num_classes)
        _initialize(self)
        lecun_normal(self.patches.weight)
        if self.patches.bias is not None:
            nn.init.zeros_(self.patches.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) to logits (N, num_classes)."""
        patches = self.patches(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(len(x), -1, -1)
        x = self.blocks(torch.cat([token, patches], dim=1) + self.positions)
        logits: Tensor = self.classifier(self.norm(x[:, 0]))
        return logits


def vit_tiny(input_shape: tuple[int, int, int] = (3, 32, 32), num_classes: int = 10) -> nn.Module:
    """Vision transformer of 12 blocks, width 192 and 3 heads (ViT-Ti).

    Pre-norm blocks with a hidden layer of 768 units, a class token and learned positions, without
    distillation and dropout. Patches are 16x16 for 224x224, 4x4 for 32x32 and 28x28, 2x2 for 8x8.
    Linear weights, class token and positions are drawn with deviation 0.02, the projection of the patches
    with 1 / sqrt(fan_in); biases are zero.

    Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale", 2021,
    arXiv 2010.11929.
    Touvron et al., "Training data-efficient image transformers & distillation through attention", 2021,
    arXiv 2012.12877, has this size.

    Args:
        input_shape: A shape (C, H, W) with even H and W.
        num_classes: Number of logits.

    Returns:
        A network from (N, C, H, W) to logits (N, num_classes).

    Raises:
        ModelError: The image does not divide into patches.

    Example:
        >>> sum(weight.numel() for weight in vit_tiny((3, 32, 32), 10).parameters())
        5362762
    """
    shape = shape_of_images("vit/tiny", input_shape)
    patch = patch_side("vit/tiny", shape)
    return VisionTransformer(shape, patch, num_classes, width=192, blocks=12, heads=3)


class CharacterModel(nn.Module):
    """Blocks of causal attention; the classifier has the weights of the embedding."""

    def __init__(self, length: int, characters: int, width: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, width)
        self.positions = nn.Parameter(torch.empty(1, length, width))
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, characters, bias=False)
        self.classifier.weight = self.embedding.weight
        _initialize(self)
        for module in self.modules():
            if isinstance(module, Block):
                for layer in (module.attention.projection, module.linear2):
                    nn.init.normal_(layer.weight, std=DEVIATION / sqrt(2 * blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Map characters (N, length) int64 to logits (N, characters) of the next character."""
        x = self.blocks(self.embedding(x) + self.positions[:, : x.shape[1]])
        logits: Tensor = self.classifier(self.norm(x[:, -1]))
        return logits


def gpt_char(input_shape: tuple[int, ...] = (64,), num_classes: int = 65) -> nn.Module:
    """Character model: a decoder-only transformer of 4 blocks, width 128 and 4 heads.

    The architecture of GPT-2 without dropout, in the size that nanoGPT (Karpathy, 2022) trains on a CPU:
    pre-norm blocks with a hidden layer of 512 units, learned positions, and a classifier that shares the
    weights of the embedding. It predicts the character after the sequence. Weights are drawn with deviation
    0.02, those of the last layer of each residual branch with 0.02 / sqrt(8); biases are zero.

    Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762.
    Radford et al., "Language Models are Unsupervised Multitask Learners", 2019.

    Args:
        input_shape: The shape (length,) of a sequence.
        num_classes: Number of characters.

    Returns:
        A network from characters (N, length) int64 to logits (N, num_classes).

    Raises:
        ModelError: The inputs are images.

    Example:
        >>> sum(weight.numel() for weight in gpt_char((64,), 65).parameters())
        809856
    """
    if len(input_shape) != 1:
        raise ModelError(
            f"gpt/char takes sequences of characters (length,), not inputs of shape {tuple(input_shape)}; "
            "use a dataset such as text"
        )
    return CharacterModel(input_shape[0], num_classes, width=128, blocks=4, heads=4)
