"""Batched training of convolutional networks: `torch.func.vmap` computes them as convolutions in groups.

It is the same step on every device, and is chosen where it is faster than one network after the other: on a
GPU, which a small network does not occupy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from synflow_bench.training.batched import LEAST, MOST_PARAMETERS, backward, tried_once
from synflow_bench.training.step import (
    Batch,
    MaskedWeights,
    build_optimizer,
    optimizer_state,
    set_learning_rate,
    set_optimizer_state,
)

if TYPE_CHECKING:
    from synflow_bench.records import Engine
    from synflow_bench.training.loop import Training

DEVICES = frozenset({"cuda"})
"""The kinds of devices on which networks are trained in this way; on a CPU it is slower."""

ACCURACY = 1e-2
"""The largest distance from the gradients of the network alone, as a share of their norm."""


class VmappedStep:
    """One optimizer step of several networks of one shape, whose layers are those of `is_vmappable`."""

    engine: ClassVar[Engine] = "vmapped"
    """The name of the implementation for records."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._recipe, self._count = trainings[0].recipe, len(trainings)
        self._models = [training.model for training in trainings]
        self._network = VmappedNetwork(self._models)
        self.masked = [MaskedWeights(training.model, training.masks) for training in trainings]
        self._masks = self._network.stack_masks([training.masks for training in trainings])
        self._optimizer = build_optimizer(self._recipe, self._network.parameters.values())

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """Train every network on its batch; all batches have one size."""
        parameters = self._network.parameters
        set_learning_rate(self._optimizer, batches[0].lr)
        for parameter in parameters.values():
            parameter.grad = None
        logits = self._network([batch.inputs for batch in batches])
        losses = backward(logits, batches, self._recipe.label_smoothing)
        for name, mask in self._masks.items():
            _gradient(parameters[name]).mul_(mask)
        if self._recipe.gradient_clip is not None:
            _clip([_gradient(parameter) for parameter in parameters.values()], self._recipe.gradient_clip)
        self._optimizer.step()
        return losses

    def states(self) -> Sequence[dict[str, Tensor]]:
        """Return the state of the optimizer for every network, with the names of `TrainingStep`."""
        whole = {
            f"{index}/{name}": tensor
            for index, parameter in enumerate(self._network.parameters.values())
            for name, tensor in optimizer_state(self._optimizer, parameter).items()
        }
        rows = range(self._count)
        return [{k: tensor[row] if tensor.dim() else tensor for k, tensor in whole.items()} for row in rows]

    def restore(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Continue from what `states` has returned for each network, in whatever batches they were."""
        for index, parameter in enumerate(self._network.parameters.values()):
            prefix = f"{index}/"
            names = [key.removeprefix(prefix) for key in states[0] if key.startswith(prefix)]
            rows = {name: [state[prefix + name] for state in states] for name in names}
            whole = {
                name: each[0] if each[0].dim() == 0 else self._network.fill(each)
                for name, each in rows.items()
            }
            if whole:
                set_optimizer_state(self._optimizer, parameter, whole)

    def release(self) -> None:
        """Separate the networks again."""
        self._network.release()


class VmappedNetwork:
    """Networks of one shape, whose parameters and buffers become rows of common tensors.

    A batch has at least `LEAST` networks: copies of the first fill up smaller ones.

    Attributes:
        parameters: (G, *shape) by name.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self._models = models
        device = next(models[0].parameters()).device
        self._fillers = max(0, LEAST.get(device.type, 1) - len(models))
        self.parameters = {
            name: nn.Parameter(self._stack([model.get_parameter(name) for model in models]))
            for name, _ in models[0].named_parameters()
        }
        self._buffers = {
            name: self._stack([model.get_buffer(name) for model in models])
            for name, _ in models[0].named_buffers()
        }
        base = _training_copy(models[0]).to("meta")

        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], inputs: Tensor) -> Tensor:
            logits: Tensor = functional_call(base, (parameters, buffers), (inputs,))
            return logits

        self._call = vmap(call)

    def __call__(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return the logits (G, N, classes) for inputs (N, C, H, W) of every network, in training mode."""
        batch = self.fill(inputs)
        logits: Tensor = self._call(dict(self.parameters), self._buffers, batch)
        return logits

    def fill(self, rows: Sequence[Tensor]) -> Tensor:
        """Stack a tensor per network, with copies of the first for the networks that fill the batch."""
        return torch.stack([*rows, *[rows[0]] * self._fillers])

    def stack_masks(self, masks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the masks of all networks by name, (G, *shape), as numbers."""
        stacked = {}
        for name in {name for of_one in masks for name in of_one}:
            whole = torch.ones_like(self.parameters[name][0])
            rows = [of_one[name].to(whole) if name in of_one else whole for of_one in masks]
            stacked[name] = self.fill(rows)
        return stacked

    @torch.no_grad()
    def _stack(self, tensors: Sequence[Tensor]) -> Tensor:
        stacked = self.fill(tensors)
        for row, tensor in zip(stacked, tensors, strict=False):
            tensor.data, tensor.grad = row, None
        return stacked

    def release(self) -> None:
        """Copy the parameters and buffers of every network to tensors of their own."""
        for model in self._models:
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.data, tensor.grad = tensor.detach().clone(), None


def _gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _clip(gradients: Sequence[Tensor], most: float) -> None:
    """Scale the gradients of every network (G, ...) down to a norm of at most `most`."""
    norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0).sqrt()
    factors = (most / (norms + 1e-6)).clamp(max=1)
    for gradient in gradients:
        gradient.mul_(factors.view(-1, *[1] * (gradient.dim() - 1)))


_LAYERS = (nn.Conv2d, nn.Linear, nn.ReLU, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Identity)


def is_vmappable(model: nn.Module) -> bool:
    """Return True for networks of convolutions, batch norms, ReLU, mean pooling and linear layers.

    They have no hooks, no shared parameters and none that is not trained, and are small.
    """
    parameters = list(model.parameters())
    leaves = [module for module in model.modules() if not list(module.children())]
    size = sum(parameter.numel() for parameter in parameters)
    return (
        any(type(leaf) is nn.Conv2d for leaf in leaves)
        and all(type(leaf) in _LAYERS or _is_plain_norm(leaf) for leaf in leaves)
        and sum(len(list(leaf.parameters())) for leaf in leaves) == len(parameters)
        and all(parameter.requires_grad for parameter in parameters)
        and size <= MOST_PARAMETERS.get(parameters[0].device.type, size)
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    )


MOST_MACS = {"cuda": 10**9}
"""The multiply-accumulates of the largest batch of one network that is vmapped, by the kind of device.

One with more occupies a GPU. This is an estimate: no measurement has been made yet.
"""


@tried_once
def is_small(model: nn.Module, inputs: Sequence[int], networks: int) -> bool:  # noqa: ARG001 - as all trials
    """Return True if a forward pass of one network on `inputs` has at most `MOST_MACS`."""
    most = MOST_MACS.get(next(model.parameters()).device.type)
    if most is None:
        return True
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        deepcopy(model).to("meta")(torch.empty(*inputs, device="meta"))
    return bool(counted.get_total_flops() <= 2 * most)


def _is_plain_norm(module: nn.Module) -> bool:
    return type(module) is nn.BatchNorm2d and module.track_running_stats and module.momentum is not None


@tried_once
def is_vmapped_alike(model: nn.Module, inputs: Sequence[int], networks: int) -> bool:
    """Return True if networks like `model` get the same bits in one batch as in batches of one.

    They must also get the gradients of the network itself, except for rounding. Libraries promise neither, so
    both are tried with random inputs.

    Args:
        model: A network for which `is_vmappable` holds; it is not changed.
        inputs: The shape of a training batch.
        networks: The number of networks in the batch.
    """
    generator, device = torch.Generator().manual_seed(0), next(model.parameters()).device
    models = [_training_copy(model) for _ in range(networks)]
    batches = list(torch.randn(networks, *inputs, generator=generator).to(device))
    plain, *alone = (_training_copy(model) for _ in range(3))
    try:
        together = _gradients(models, batches)
        for row, one in zip((0, networks - 1), alone, strict=True):
            if not all(map(torch.equal, _gradients([one], batches[row : row + 1])[0], together[row])):
                return False
    except torch.OutOfMemoryError:  # of this moment, and so no answer to keep
        raise
    except RuntimeError:  # a forward of its own may do what `vmap` cannot follow
        return False
    plain(batches[0]).square().sum().backward()
    own = torch.cat([_gradient(parameter).flatten() for parameter in plain.parameters()])
    distance = own - torch.cat([gradient.flatten() for gradient in together[0]])
    return bool(distance.norm() <= ACCURACY * own.norm())


def _training_copy(model: nn.Module) -> nn.Module:
    copy = deepcopy(model)
    copy.train()  # a method of its own may return nothing
    return copy


def _gradients(models: Sequence[nn.Module], batches: Sequence[Tensor]) -> list[list[Tensor]]:
    network = VmappedNetwork(models)
    network(batches)[: len(models)].square().sum().backward()  # type: ignore[no-untyped-call]
    return [[_gradient(p)[row] for p in network.parameters.values()] for row in range(len(models))]
