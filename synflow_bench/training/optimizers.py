"""Optimizers and learning rates of a recipe."""

from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn, optim

from synflow_bench.suites import Recipe

Kind = TypeVar("Kind", bound=type[optim.Optimizer])


def _uncompiled(kind: Kind) -> Kind:
    """`kind` without what tells torch's compiler to leave it alone, which loads it: 140 MiB and seconds."""
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in ("add_param_group", "zero_grad")}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)  # type: ignore[return-value]


_SGD, _Adam, _RMSprop = _uncompiled(optim.SGD), _uncompiled(optim.Adam), _uncompiled(optim.RMSprop)


def build_optimizer(recipe: Recipe, parameters: Iterable[nn.Parameter]) -> optim.Optimizer:
    """The optimizer of a recipe, fused where torch has a fused kernel for the device."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    fused = all(parameter.device.type in {"cpu", "cuda", "mps"} for parameter in trained)
    decay = recipe.weight_decay
    match recipe.optimizer:
        case "sgd":
            return _SGD(trained, lr=recipe.lr, weight_decay=decay, fused=fused)
        case "momentum":
            return _SGD(
                trained,
                lr=recipe.lr,
                momentum=recipe.momentum,
                nesterov=recipe.momentum > 0,
                weight_decay=decay,
                fused=fused,
            )
        case "adam":
            return _Adam(trained, lr=recipe.lr, weight_decay=decay, fused=fused)
        case "rmsprop":
            return _RMSprop(trained, lr=recipe.lr, weight_decay=decay, foreach=True)


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of optimizer step `step`, counted from zero over the whole training."""
    warm = recipe.warmup_epochs * steps_per_epoch
    if step < warm:
        return recipe.lr * (step + 1) / warm
    if recipe.schedule == "step":
        return recipe.lr * recipe.gamma ** bisect_right(recipe.milestones, step // steps_per_epoch)
    if recipe.schedule == "cosine":
        share = (step - warm) / (recipe.epochs * steps_per_epoch - warm)
        return recipe.lr * (1 + math.cos(math.pi * share)) / 2
    return recipe.lr


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group the learning rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr
