"""One or more factories per rule, each of which breaks that rule and no other."""

from __future__ import annotations

import os
from collections import OrderedDict
from functools import cache, partial
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from synflow_bench.errors import ModelError


def sound(input_shape, num_classes, width: int = 16) -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            hidden=nn.Linear(prod(input_shape), width),
            relu=nn.ReLU(),
            classifier=nn.Linear(width, num_classes),
        )
    )


def color_only(input_shape, num_classes):
    if input_shape[0] != 3:
        raise ModelError("gray images are not accepted")
    return sound(input_shape, num_classes)


def rejects_everything(input_shape, num_classes):
    raise ModelError("no")


def no_network(input_shape, num_classes):
    return lambda examples: examples


def ten_classes(input_shape, num_classes):
    return sound(input_shape, 10)


def infinite(input_shape, num_classes):
    network = sound(input_shape, num_classes)
    nn.init.constant_(network.classifier.bias, torch.inf)
    return network


@cache
def cached(input_shape, num_classes):
    return sound(input_shape, num_classes)


def seeds_itself(input_shape, num_classes):
    torch.manual_seed(0)
    return sound(input_shape, num_classes)


_NUMPY = np.random.default_rng()


def draws_elsewhere(input_shape, num_classes):
    network = sound(input_shape, num_classes)
    draws = torch.from_numpy(_NUMPY.normal(size=network.hidden.bias.shape)).float()
    with torch.no_grad():
        network.hidden.bias.copy_(draws)
    return network


def color_or_crash(input_shape, num_classes):
    if input_shape[0] == 1:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    return sound(input_shape, num_classes)


class Unused(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.unused = nn.Linear(3, 3)
        self.unused.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


class Detached(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network.classifier(self.network[:3](x).detach())


class AlwaysDropout(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(nn.functional.dropout(x, 0.5, training=True))


class Counts(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.network(x)


class KeepsItsOutput(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.norm = network.hidden.weight.norm()  # a part of a graph, which deepcopy refuses

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)


def wrapped(wrapper, input_shape, num_classes):
    return wrapper(sound(input_shape, num_classes))


def sets_the_environment(input_shape, num_classes):
    os.environ["MY_MODEL"] = "was here"
    return sound(input_shape, num_classes)


def draws_from_numpy_too(input_shape, num_classes):
    np.random.rand()
    return sound(input_shape, num_classes)


FAULTY = {
    "a list": (["no factory"], "factory"),
    "rejects everything": (rejects_everything, "factory"),
    "no network": (no_network, "factory"),
    "ten classes": (ten_classes, "logits"),
    "infinite": (infinite, "logits"),
    "cached": (cached, "fresh"),
    "seeds itself": (seeds_itself, "seeded"),
    "draws elsewhere": (draws_elsewhere, "seeded"),
    "color or crash": (color_or_crash, "inputs"),
    "unused layer": (partial(wrapped, Unused), "prunable"),
    "detached": (partial(wrapped, Detached), "gradients"),
    "always dropout": (partial(wrapped, AlwaysDropout), "repeatable"),
    "counts": (partial(wrapped, Counts), "repeatable"),
    "keeps its output": (partial(wrapped, KeepsItsOutput), "copies"),
    "environment": (sets_the_environment, "global-state"),
    "numpy": (draws_from_numpy_too, "global-state"),
}
"""Faulty factories by name, each with the rule that it breaks."""
