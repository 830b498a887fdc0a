"""Residual networks for Tiny ImageNet: those for ImageNet, with a 3x3 stem and no pool after it.

He et al., "Deep Residual Learning for Image Recognition", 2016, arXiv 1512.03385.
Zagoruyko & Komodakis, "Wide Residual Networks", 2016, arXiv 1605.07146.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from synflow_bench_models.initialisation import kaiming_normal
from synflow_bench_models.residual import BasicBlock, Bottleneck, normalised

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Depth -> blocks in each stage."""
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4
"""How many times more channels leave a bottleneck than it has inside, where it is not widened."""


@dataclass(frozen=True)
class TinyImagenetResNet:
    """Builds a residual network of `depth` layers, `widening` times as wide.

    A wide network of basic blocks (up to depth 34) has that many times the channels everywhere; in a wide
    network of bottlenecks the widened convolutions are those inside, as in Zagoruyko & Komodakis.
    """

    depth: int
    widening: int = 1

    def __call__(
        self, input_shape: tuple[int, int, int], num_classes: int, *, residual: bool = False
    ) -> nn.Module:
        """Map (N, *input_shape) to logits (N, num_classes), for any `input_shape` (C, H, W).

        Convolutions are Kaiming normal over the fan out, the classifier is as torch initialises it. With
        `residual` the identity shortcuts have scales of ones, which can be pruned.
        """
        stem, outputs = self._channels()
        inputs = (stem, *outputs)
        layers = OrderedDict[str, nn.Module](
            stem=normalised(input_shape[0], stem, kernel_size=3, stride=1), relu=nn.ReLU()
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
        """Those that leave the stem, and those that leave each stage."""
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


resnet18, resnet34, resnet50, resnet101, resnet152 = map(TinyImagenetResNet, STAGES)
wide_resnet18, wide_resnet34, wide_resnet50, wide_resnet101, wide_resnet152 = (
    TinyImagenetResNet(depth, widening=2) for depth in STAGES
)
