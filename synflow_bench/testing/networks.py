"""The small networks and examples that pruners are tried on; each network tests one property."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

INPUT_SHAPE = (2, 8, 8)
CLASSES = 5
EXAMPLES_PER_CLASS = 10

Build = Callable[[], nn.Module]
"""A function that returns a network (N, 2, 8, 8) -> (N, 5), with weights from torch's global generator."""


def seeded(build: Build) -> nn.Module:
    """Build a network whose weights are always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def plain() -> nn.Module:
    """Build two convolutions and a classifier without biases: 2,576 weights."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(INPUT_SHAPE[0], 8, 3, padding=1, bias=False),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(8, 16, 3, padding=1, bias=False),
            relu2=nn.ReLU(),
            pool=nn.AvgPool2d(2),
            flatten=nn.Flatten(),
            classifier=nn.Linear(256, CLASSES, bias=False),
        )
    )


def with_biases() -> nn.Module:
    """Build a convolution and two linear layers with biases that are not zero."""
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(INPUT_SHAPE[0], 8, 3, padding=1),
            relu1=nn.ReLU(),
            pool=nn.AvgPool2d(4),
            flatten=nn.Flatten(),
            hidden=nn.Linear(32, 24),
            relu2=nn.ReLU(),
            classifier=nn.Linear(24, CLASSES),
        )
    )


def with_batch_norm() -> nn.Module:
    """Build a network with 2-d and 1-d batch norm, whose parameters and statistics are not the defaults."""
    network = nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(INPUT_SHAPE[0], 8, 3, padding=1, bias=False),
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


def in_use() -> nn.Module:
    """Build a network with batch norm in the middle of training: gradients, a hook, one part in eval mode."""
    network = with_batch_norm().train()
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape)
    network.get_submodule("bn1").eval()
    network.get_submodule("conv").register_forward_hook(lambda *_: None)
    return network


class ResidualNetwork(nn.Module):
    """A network with a shortcut: it is not a `Sequential`, and its units have several paths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(INPUT_SHAPE[0], 8, 3, padding=1, bias=False)
        self.conv1 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.classifier = nn.Linear(8, CLASSES, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 2, 8, 8) to (N, 5)."""
        hidden = self.stem(x).relu()
        hidden = (hidden + self.conv2(self.conv1(hidden).relu())).relu()
        logits: Tensor = self.classifier(hidden.mean(dim=(2, 3)))
        return logits


def examples(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Make inputs (50, 2, 8, 8), in which each class has its own pattern, and labels (50,) int64."""
    generator = torch.Generator().manual_seed(1)
    patterns = torch.randn(CLASSES, *INPUT_SHAPE, generator=generator)
    labels = torch.arange(CLASSES * EXAMPLES_PER_CLASS) % CLASSES
    inputs = patterns[labels] + torch.randn(len(labels), *INPUT_SHAPE, generator=generator)
    return inputs.to(dtype), labels


class Uncopyable(nn.Module):
    """A network with attributes that cannot be copied: computed tensors, a lock, a generator, itself."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.lock, self.cache = net, threading.Lock(), {"last": [torch.ones(1)]}
        self.numbers = (number for number in range(3))
        self.again = [self.net]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the network, and keep what was computed."""
        out: Tensor = self.again[0](x)
        self.cache["last"] = [out]
        self.activation = out * 2
        return out
