"""Batched training: several small networks of one shape computed as one, with the same bits as one by one.

Networks that are chains of linear layers and ReLU can be batched. Their parameters lie in one tensor, with a
row per network, so that one optimizer updates all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, wraps
from itertools import accumulate
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils import clip_grad_norm_

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


class BatchedStep:
    """One optimizer step of several networks; each gets the same result as alone."""

    engine: ClassVar[Engine] = "stacked"
    """The name of the implementation for records."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._recipe = trainings[0].recipe
        self._models = [training.model for training in trainings]
        self.masked = [MaskedWeights(training.model, training.masks) for training in trainings]
        filled = _filled(self._models)
        self._fillers = len(filled) - len(trainings)
        self._network = BatchedNetwork(filled)
        of_each = [*(training.masks for training in trainings), *[trainings[0].masks] * self._fillers]
        self._masks = self._network.storage.batch_masks(of_each)
        self._masks[len(trainings) :] = 0
        self._kept = KeptParameters(self._network.storage, self._masks)
        self._optimizer = build_optimizer(self._recipe, [self._kept.values])

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """Train every network on its batch; all batches have one size."""
        set_learning_rate(self._optimizer, batches[0].lr)
        inputs = [batch.inputs for batch in batches]
        logits = self._network(torch.stack(inputs + inputs[:1] * self._fillers))
        losses = backward(logits, batches, self._recipe.label_smoothing)
        if self._recipe.gradient_clip is not None:
            self._network.storage.gradients.mul_(self._masks)
            for model in self._models:
                clip_grad_norm_(model.parameters(), self._recipe.gradient_clip)
        self._kept.gather()
        self._optimizer.step()
        self._kept.scatter()
        return losses

    def states(self) -> Sequence[dict[str, Tensor]]:
        """Return the state of the optimizer for every network, with zeros where nothing is kept."""
        whole = optimizer_state(self._optimizer, self._kept.values)
        rows = {name: self._kept.spread(tensor) for name, tensor in whole.items()}
        return [{name: tensor[index] for name, tensor in rows.items()} for index in range(len(self._models))]

    def restore(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Continue from what `states` has returned for each network, in whatever batches they were."""
        self._kept.reload()
        device = self._kept.values.device  # a checkpoint is read to the CPU
        rows = {name: torch.stack([state[name] for state in states]).to(device) for name in states[0]}
        rows = {
            name: pad(tensor, (0, 0, 0, self._fillers)) if tensor.dim() == 2 else tensor
            for name, tensor in rows.items()
        }
        whole = {name: self._kept.collect(tensor) for name, tensor in rows.items()}
        if whole:
            set_optimizer_state(self._optimizer, self._kept.values, whole)

    def release(self) -> None:
        """Separate the networks again."""
        self._network.storage.release()


AT_ONCE = frozenset({"cuda"})
"""The kinds of devices on which the losses of a batch are computed at once, which takes fewer launches.

On others each is computed as that of a network alone, and rounds in the same way.
"""


def backward(logits: Tensor, batches: Sequence[Batch], smoothing: float) -> Sequence[Tensor]:
    """Run the backward pass of the mean loss of every network on its batch, and return the losses.

    Args:
        logits: The logits (G, N, classes) of all networks; the last of them may only fill up the batch.
        batches: A batch of N examples for each of the others.
        smoothing: The label smoothing.
    """
    labels = [batch.labels for batch in batches]
    if logits.device.type not in AT_ONCE:
        rows = zip(logits.unbind()[: len(batches)], labels, strict=True)
        losses = [cross_entropy(row, of_row, label_smoothing=smoothing) for row, of_row in rows]
        torch.autograd.backward(losses)
        return [loss.detach() for loss in losses]
    labels += labels[:1] * (len(logits) - len(labels))  # of one size, whose sums always round in one way
    each = cross_entropy(logits.flatten(0, 1), torch.cat(labels), reduction="none", label_smoothing=smoothing)
    means = each.view(len(logits), -1).mean(1)
    means[: len(batches)].sum().backward()  # type: ignore[no-untyped-call]
    return means.detach().unbind()[: len(batches)]


LEAST = {"cuda": 32}
"""The least networks in a batch, by the kind of device; copies without kept weights fill up smaller ones.

A GPU computes as many small networks in the time of one. Its libraries round differently in batches of other
sizes, so all batches have one.
"""

MOST_PARAMETERS = {"cuda": 1_000_000}
"""The parameters of the largest network that is batched, by the kind of device: larger ones occupy a GPU."""


def _filled(models: Sequence[nn.Module]) -> list[nn.Module]:
    least = LEAST.get(next(models[0].parameters()).device.type, 1)
    return [*models, *(deepcopy(models[0]) for _ in range(least - len(models)))]


def is_batchable(model: nn.Module) -> bool:
    """Return True if `model` is flatten, then linear layers and ReLU, without hooks or shared parameters."""
    layers = [layer for _, layer in _layers(model)]
    first = layers[0]
    parameters = sum(len(list(layer.parameters())) for layer in layers)
    size = sum(parameter.numel() for parameter in model.parameters())
    return (
        parameters == len(list(model.parameters())) > 0
        and size <= MOST_PARAMETERS.get(next(model.parameters()).device.type, size)
        and all(parameter.requires_grad for parameter in model.parameters())
        and type(first) is nn.Flatten
        and (first.start_dim, first.end_dim) == (1, -1)
        and all(type(layer) in (nn.Linear, nn.ReLU, nn.Identity) for layer in layers[1:])
        and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    )


def _layers(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of nested `Sequential`s in order, with their names."""
    if type(model) is not nn.Sequential:
        yield prefix.removesuffix("."), model
        return
    for name, child in model._modules.items():  # not `named_children`, which skips repetitions
        if child is not None:
            yield from _layers(child, f"{prefix}{name}.")


_ROWS = 4
"""Batches are padded to a multiple of this many examples, with zeros that have no gradient.

The part of every network in a batched product then begins at a whole small vector, and is computed in the
same way at every position in the batch.
"""


class BatchedNetwork(nn.Module):
    """G networks of one shape, for which `is_batchable` holds, over one tensor of their parameters.

    The networks stay usable: their parameters are views. Every backward pass sets the gradients and never
    adds to earlier ones.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        super().__init__()
        self.storage = BatchedParameters.of(models)
        layers = list(_layers(models[0]))[1:]
        self._layers = nn.Sequential(*(self._batched(name, layer) for name, layer in layers))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `inputs` (G, N, ...) to logits (G, N, classes)."""
        examples, count = inputs.flatten(2), inputs.shape[1]
        if spare := -count % _ROWS:
            examples = pad(examples, (0, 0, 0, spare))
        logits: Tensor = self._layers(examples)
        return logits[:, :count]

    def _batched(self, name: str, layer: nn.Module) -> nn.Module:
        if not isinstance(layer, nn.Linear):
            return layer
        bias = None if layer.bias is None else self.storage.pair(f"{name}.bias")
        return BatchedLinear(self.storage.pair(f"{name}.weight"), bias)


Pair = tuple[Tensor, Tensor]
"""Values and gradients of one parameter of G networks, each (G, *shape)."""


class BatchedLinear(nn.Module):
    """Maps (G, N, in) to (G, N, out), each network by its own weights."""

    def __init__(self, weight: Pair, bias: Pair | None) -> None:
        super().__init__()
        self.weight, self.bias = weight, bias
        self._leaf = weight[0].requires_grad_()

    def forward(self, inputs: Tensor) -> Tensor:
        """Map `inputs` (G, N, in)."""
        outputs: Tensor = _Product.apply(inputs, self._leaf, self)
        return outputs


class _Product(torch.autograd.Function):
    """x W^T + b of every network; gradients of W and b go to the tensors that the optimizer reads."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, layer: BatchedLinear) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        ctx.layer = layer
        if layer.bias is None:
            return torch.bmm(inputs, weight.transpose(1, 2))
        return torch.baddbmm(layer.bias[0].unsqueeze(1), inputs, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> tuple[Tensor | None, None, None]:
        (gradient,) = outer
        inputs, weight = ctx.saved_tensors
        layer: BatchedLinear = ctx.layer
        torch.bmm(inputs.transpose(1, 2), gradient, out=layer.weight[1].transpose(1, 2))
        if layer.bias is not None:
            torch.sum(gradient, dim=1, out=layer.bias[1])
        return torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None, None, None


_ALIGNMENT = 16
"""Every parameter begins at a multiple of this many floats: the widest vector of a processor.

An operation then computes an entry in the same way at every position in the batch.
"""


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@dataclass(frozen=True)
class BatchedParameters:
    """The parameters of several networks in one tensor.

    Attributes:
        values: (G, P) float32: a row per network, its parameters one after another, with zeros between and
            after them, which have no gradient.
        gradients: (G, P) float32, the gradients of `values`.
        models: The networks.
    """

    values: nn.Parameter
    gradients: Tensor
    models: Sequence[nn.Module]

    @classmethod
    def of(cls, models: Sequence[nn.Module]) -> BatchedParameters:
        """Move the parameters and gradients of `models` into one tensor each, and make theirs views of it."""
        width = sum(_aligned(parameter.numel()) for parameter in models[0].parameters()) + _ALIGNMENT
        device = next(models[0].parameters()).device
        values = nn.Parameter(torch.zeros(len(models), width, device=device))
        values.grad = torch.zeros_like(values)
        batched = cls(values, values.grad, models)
        for name in batched._starts:
            rows, gradients = batched.pair(name)
            for row, model in enumerate(models):
                parameter = model.get_parameter(name)
                parameter.data = rows[row].copy_(parameter.detach())
                parameter.grad = gradients[row]
        return batched

    def pair(self, name: str) -> Pair:
        """Return values and gradients (G, *shape) of the parameter `name` of all networks."""
        return self._view(self.values.detach(), name), self._view(self.gradients, name)

    @cached_property
    def _starts(self) -> dict[str, int]:
        sizes = {name: _aligned(parameter.numel()) for name, parameter in self.models[0].named_parameters()}
        return dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))

    def batch_masks(self, masks: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """Return the masks of all networks as one tensor (G, P) of ones and zeros; padding is zero."""
        batched = torch.zeros_like(self.gradients)
        for row, of_one in enumerate(masks):
            for name in self._starts:
                kept = of_one.get(name)
                self._view(batched, name)[row] = 1 if kept is None else kept
        return batched

    def _view(self, batched: Tensor, name: str) -> Tensor:
        """Return the parameter `name` (G, *shape) in `batched` (G, P).

        Matrices lie transposed, (in, out): a product with them takes half the time where batches are small.
        """
        shape = self.models[0].get_parameter(name).shape
        part = batched[:, self._starts[name] : self._starts[name] + shape.numel()]
        return part.view(-1, *reversed(shape)).transpose(1, -1)

    def release(self) -> None:
        """Copy the parameters of every network to tensors of their own."""
        for model in self.models:
            for parameter in model.parameters():
                parameter.data, parameter.grad = parameter.detach().contiguous().clone(), None


MOST_KEPT = {"cuda": 0.0}
_MOST_KEPT = 0.5
"""The largest share of kept parameters at which only they are updated, on a kind of device and on all others.

It saves time on a CPU. On a GPU, writing them back in a fixed order sorts their indices in every step.
"""


class KeptParameters:
    """The parameters that the optimizer updates, in `values` with its gradient: the kept ones, or all.

    Either way every entry is updated by the same vectorized operations, so the choice changes no result.
    """

    def __init__(self, batched: BatchedParameters, masks: Tensor) -> None:
        self._stored, self._gradients = batched.values.detach().view(-1), batched.gradients.view(-1)
        self._networks = len(masks)
        self._masks, self._places = masks.view(-1), _kept_places(masks)
        self.values = batched.values
        if self._places is not None:
            self.values = nn.Parameter(self._stored[self._places])
            self.values.grad = torch.zeros_like(self.values)

    def gather(self) -> None:
        """Read the gradients of the last backward pass, masked, so that weights of zero stay zero."""
        if self._places is None:
            self._gradients.mul_(self._masks)
        else:
            torch.index_select(self._gradients, 0, self._places, out=self.values.grad)

    def scatter(self) -> None:
        """Write the updated parameters to the networks."""
        if self._places is not None:  # the index of the padding is repeated, always with zeros
            self._stored.scatter_(0, self._places, self.values.detach())

    def reload(self) -> None:
        """Read the parameters of the networks again, after others have changed them."""
        if self._places is not None:
            self.values.detach().copy_(self._stored[self._places])

    def spread(self, state: Tensor) -> Tensor:
        """Return a state of the optimizer as a row per network (G, P); a number is repeated (G,)."""
        if state.dim() == 0:
            return state.expand(self._networks)
        if self._places is not None:
            state = torch.zeros_like(self._stored).scatter_(0, self._places, state)
        return state.view(self._networks, -1)

    def collect(self, rows: Tensor) -> Tensor:
        """Return the state of the optimizer whose rows `spread` has returned."""
        if rows.dim() == 1:
            return rows[0]
        return rows if self._places is None else rows.reshape(-1)[self._places]


def _kept_places(masks: Tensor) -> Tensor | None:
    """Return the indices of the kept parameters, padded to whole vectors; None where too many are kept."""
    places = masks.view(-1).nonzero().squeeze(1)
    if len(places) > MOST_KEPT.get(masks.device.type, _MOST_KEPT) * masks.numel():
        return None
    filling = -len(places) % _ALIGNMENT
    return torch.cat([places, places.new_full((filling,), masks.shape[1] - 1)])


Trial = Callable[[nn.Module, Sequence[int], int], bool]


def tried_once(trial: Trial) -> Trial:
    """Return a trial that keeps its answers on networks that are described in the same way, on one device."""
    answers: dict[tuple[object, ...], bool] = {}

    @wraps(trial)
    def ask(model: nn.Module, inputs: Sequence[int], networks: int) -> bool:
        key = repr(model), tuple(inputs), networks, str(next(model.parameters()).device)
        if key not in answers:
            answers[key] = trial(model, inputs, networks)
        return answers[key]

    return ask


@tried_once
def is_exact(model: nn.Module, inputs: Sequence[int], networks: int) -> bool:
    """Return True if networks like `model` give the same bits in one batch as one by one, on this machine.

    Libraries do not guarantee it for batched products, so it is tried with random weights and inputs. Of a
    batch that is filled up, only the first and the last network are tried.

    Args:
        model: A network for which `is_batchable` holds; it is not changed.
        inputs: The shape of a training batch.
        networks: The number of networks in the batch.
    """
    generator = torch.Generator().manual_seed(0)
    models = [_random(model, generator) for _ in range(networks)]
    batches = torch.randn(networks, *inputs, generator=generator).to(next(model.parameters()).device)
    rows = sorted({0, networks - 1}) if batches.device.type in LEAST else list(range(networks))
    alone = [_gradients([deepcopy(models[row])], batches[row : row + 1]) for row in rows]
    return torch.equal(_gradients(models, batches)[rows], torch.cat(alone))


def _random(model: nn.Module, generator: torch.Generator) -> nn.Module:
    copy = deepcopy(model)
    with torch.no_grad():
        for parameter in copy.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return copy


def _gradients(models: Sequence[nn.Module], batches: Tensor) -> Tensor:
    count, models = len(models), _filled(models)
    network = BatchedNetwork(models)
    network(torch.cat([batches, *[batches[:1]] * (len(models) - count)])).square().sum().backward()
    return network.storage.gradients[:count]
