"""The small networks that pruners are tried on: each has one thing that a pruner may not have thought of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

SHAPE = (2, 8, 8)
CLASSES = 5

Build = Callable[[], nn.Module]


def seeded(build: Build, seed: int = 0) -> nn.Module:
    """A network with weights that depend on `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def plain() -> nn.Module:
    """Two convolutions and a classifier without biases, (N, 2, 8, 8) -> (N, 5): 2,576 weights."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(SHAPE[0], 8, 3, padding=1, bias=False),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 3, padding=1, bias=False),
            relu2=nn.ReLU(),
            pool=nn.AvgPool2d(2),
            flatten=nn.Flatten(),
            classifier=nn.Linear(256, CLASSES, bias=False),
        )
    )


def with_biases() -> nn.Module:
    """Two linear layers with biases that are not zero."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(), hidden=nn.Linear(128, 24), relu=nn.ReLU(), classifier=nn.Linear(24, CLASSES)
        )
    )


def with_batch_norm() -> nn.Module:
    """Batch norm behind every hidden layer, 4-dimensional and 2-dimensional, with statistics of its own."""
    network = nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(SHAPE[0], 8, 3, padding=1, bias=False),
            bn1=nn.BatchNorm2d(8),
            relu1=nn.ReLU(),
            pool=nn.AvgPool2d(4),
            flatten=nn.Flatten(),
            hidden=nn.Linear(32, 24, bias=False),
            bn2=nn.BatchNorm1d(24),
            relu2=nn.ReLU(),
            classifier=nn.Linear(24, CLASSES, bias=False),
        )
    )
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if name in ("bn1.weight", "bn2.weight") or name.endswith("running_var"):
            nn.init.uniform_(tensor, 0.5, 1.5)
        elif name.endswith(("bias", "running_mean")):
            nn.init.normal_(tensor, std=0.1)
    return network


class Residual(nn.Module):
    """A block with a shortcut, so that the network is no `Sequential` and its units have several paths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(SHAPE[0], 8, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.classifier = nn.Linear(8, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 2, 8, 8) to (N, 5)."""
        hidden = self.stem(x).relu()
        hidden = (hidden + self.conv2(self.conv1(hidden).relu())).relu()
        logits: Tensor = self.classifier(hidden.mean(dim=(2, 3)))
        return logits
