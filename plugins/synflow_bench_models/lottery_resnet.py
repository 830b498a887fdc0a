"""Residual networks for small images, as in work on lottery tickets: a 1x1 convolution where shapes change.

He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385, section 4.2.
Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", 2020, arXiv 1912.05671.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from synflow_bench_models.initialisation import kaiming_normal
from synflow_bench_models.residual import BasicBlock, normalised

DEPTHS = (20, 32, 44, 56, 110, 1202)


@dataclass(frozen=True)
class LotteryResNet:
    """Builds a residual network of `depth` layers, in stages of `width`, 2 `width` and 4 `width` channels."""

    depth: int
    width: int = 16

    def __call__(
        self, input_shape: tuple[int, int, int], num_classes: int, *, residual: bool = False
    ) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes), for any `input_shape` (C, H, W).

        With `residual` the identity shortcuts have scales of ones, which can be pruned.
        """
        width, blocks = self.width, (self.depth - 2) // 6
        model = nn.Sequential(
            OrderedDict[str, nn.Module](
                stem=normalised(input_shape[0], width, kernel_size=3, stride=1),
                relu=nn.ReLU(),
                stage1=_stage(width, width, blocks, stride=1, residual=residual),
                stage2=_stage(width, 2 * width, blocks, stride=2, residual=residual),
                stage3=_stage(2 * width, 4 * width, blocks, stride=2, residual=residual),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                classifier=nn.Linear(4 * width, num_classes),
            )
        )
        kaiming_normal(model)
        return model


def _stage(inputs: int, outputs: int, blocks: int, stride: int, *, residual: bool) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride, residual=residual)
    rest = (BasicBlock(outputs, outputs, stride=1, residual=residual) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


resnet20, resnet32, resnet44, resnet56, resnet110, resnet1202 = map(LotteryResNet, DEPTHS)
wide_resnet20, wide_resnet32, wide_resnet44, wide_resnet56, wide_resnet110, wide_resnet1202 = (
    LotteryResNet(depth, width=32) for depth in DEPTHS
)
