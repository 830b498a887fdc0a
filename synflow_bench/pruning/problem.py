"""The problem that a pruner solves, and the checks of its scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from synflow_bench.errors import PluginError, ScoreError
from synflow_bench.pruning.masks import Masks, prunable_parameters
from synflow_bench.pruning.selection import Selection, flattened, order_of, select
from synflow_bench.suites import PruningOptions

Loss = Callable[[Tensor, Tensor], Tensor]
"""A function of logits (N, K) and labels (N,) that returns the mean over the examples."""

Score = Callable[["Problem"], Mapping[str, Tensor]]
"""A function that returns a score per prunable weight, by parameter name; higher is kept."""

Examples = tuple[Tensor, Tensor]
"""Inputs (N, ...) floating point and labels (N,) int64."""

BATCH_SIZE = 256
"""The number of examples of up to 3x64x64 in a batch of scoring data; batches of larger ones are smaller."""

BATCH_ENTRIES = BATCH_SIZE * 3 * 64 * 64


@dataclass(frozen=True)
class Problem:
    """One round of one pruning: a network, its prunable weights, and the data that a pruner may see.

    Attributes:
        model: A copy of the network, made for this pruning, in eval mode and with masked weights zero. It may
            be changed: the harness restores it before the next round.
        parameters: The prunable tensors of `model` by name.
        dense: Their values before any mask.
        masks: The weights that earlier rounds have kept.
        loss: The loss of the training.
        input_shape: The shape of one example, such as (3, 32, 32).
        num_classes: The number of classes.
        generator: The generator for all that the pruner draws.
        options: Which parameters are prunable, and how scores are ranked.
        examples: The scoring data; None for a pruner that needs no data. Use `batches`.
        density: The share of the prunable weights to keep after this round.
        round: The number of this round, from 1.
        invert: Keep the weights with the smallest scores, an ablation.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> generator = torch.Generator().manual_seed(0)
        >>> problem = Problem.of(nn.Linear(4, 2), input_shape=(4,), num_classes=2, generator=generator)
        >>> {name: tuple(weight.shape) for name, weight in problem.parameters.items()}
        {'weight': (2, 4)}
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    dense: Mapping[str, Tensor]
    masks: Masks
    loss: Loss
    input_shape: tuple[int, ...]
    num_classes: int
    generator: torch.Generator
    options: PruningOptions = PruningOptions()
    examples: Examples | None = None
    density: float = 1.0
    round: int = 1
    invert: bool = False
    _rest: Mapping[str, Tensor] = field(default_factory=dict, repr=False)
    _modules: Sequence[tuple[str, nn.Module]] = field(default=(), repr=False)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        *,
        input_shape: tuple[int, ...],
        num_classes: int,
        generator: torch.Generator,
        loss: Loss = nn.functional.cross_entropy,
        options: PruningOptions = PruningOptions(),
        examples: Examples | None = None,
        invert: bool = False,
    ) -> Self:
        """Pose the problem of pruning `model`, which is copied and left as it is.

        Raises:
            ModelError: The network has nothing to prune under these options.
        """
        copy = deepcopy(model).eval()
        parameters = prunable_parameters(copy, options)
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        modules = list(copy.named_modules())
        state = {name: tensor.detach().clone() for name, tensor in _tensors(modules)}
        return cls(
            model=copy,
            parameters=parameters,
            dense={name: state.pop(name) for name in parameters},
            masks=Masks.ones(parameters),
            loss=loss,
            input_shape=input_shape,
            num_classes=num_classes,
            generator=generator,
            options=options,
            examples=examples,
            invert=invert,
            _rest=state,
            _modules=modules,
        )

    @property
    def device(self) -> torch.device:
        """The device of the network and the data."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """float32, or float64 where float32 is not enough."""
        return next(iter(self.parameters.values())).dtype

    def batches(self, size: int | None = None) -> Iterator[Examples]:
        """Yield copies of the scoring data, in batches.

        The data are not augmented and by default have equally many examples of every class.

        Args:
            size: The number of examples per batch; by default `BATCH_SIZE`, fewer for large inputs.

        Raises:
            PluginError: The pruner has declared that it needs no data.
        """
        size = size or max(1, min(BATCH_SIZE, BATCH_ENTRIES // prod(self.input_shape)))
        if self.examples is None:
            raise PluginError(
                "this pruning has no data; a pruner that asks for batches sets needs_data = True"
            )
        inputs, labels = self.examples
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            yield inputs[part].clone(), labels[part].clone()

    def keep(self, score: Score, *, revive: bool = False) -> tuple[Problem, Masks]:
        """Score this round and keep the `density` share of largest scores; in float64 where float32 fails.

        Args:
            score: Gives a score per weight of `parameters`.
            revive: Let masked weights compete again.

        Returns:
            The problem as it was scored, and the masks.

        Raises:
            ScoreError: The scores of a layer cannot be ranked.
        """
        try:
            return self, self._keep(score(self), revive=revive)
        except _PrecisionError:
            wider = self._in_double()
            return wider, wider._keep(score(wider), revive=revive)

    def at(self, masks: Masks, *, density: float, round: int) -> Problem:
        """Return the next round: weights, buffers, modes and gradients as at the start, `masks` applied.

        Raises:
            PluginError: The masks do not fit the parameters.
        """
        masks, tensors = masks.check(self.parameters), dict(_tensors(self._modules))
        with torch.no_grad():
            for name in self.parameters:
                _mask(self.dense[name], masks[name], tensors[name])
                tensors[name].requires_grad_(True)
            for name in self._rest:
                tensors[name].copy_(self._rest[name])
        self.model.zero_grad(set_to_none=True)
        self.model.eval()
        return replace(self, masks=masks, density=density, round=round)

    def narrowed(self, masks: Masks, *, density: float, round: int) -> Problem:
        """Return the next round like `at`, for a score that left the network as it was.

        Args:
            masks: Masks that keep nothing which was removed before.
            density: The share of the prunable weights to keep after the round.
            round: The number of the round.

        Raises:
            PluginError: The masks do not fit the parameters.
        """
        masks, tensors = masks.check(self.parameters), dict(_tensors(self._modules))
        for name in self.parameters:
            _mask(tensors[name], masks[name], tensors[name])
        return replace(self, masks=masks, density=density, round=round)

    def part(self, model: nn.Module, of: Callable[[str, Tensor], Tensor]) -> Problem:
        """Return the same pruning of a part of the network.

        Args:
            model: The part, with the parameter names of the network.
            of: Takes a name and a tensor of the network, and returns what the part has of it.
        """
        modules = list(model.named_modules())
        dense = {name: of(name, tensor) for name, tensor in self.dense.items()}
        rest = {name: of(name, tensor) for name, tensor in self._rest.items()}
        for name, tensor in _tensors(modules):
            tensor.data = torch.empty_like(dense[name] if name in dense else rest[name])
        parameters = dict(model.named_parameters())
        smaller = replace(
            self,
            model=model,
            parameters={name: parameters[name] for name in self.parameters},
            dense=dense,
            masks=Masks({name: of(name, mask) for name, mask in self.masks.items()}),
            _rest=rest,
            _modules=modules,
        )
        return smaller.at(smaller.masks, density=self.density, round=self.round)

    def transformed(self, change: Callable[[str, Tensor], Tensor]) -> Problem:
        """Return the same pruning of a network with other values, for this round and all later ones.

        Args:
            change: Takes the name and the dense values of a parameter or floating-point buffer, and returns
                new values of the same shape, possibly in another memory layout.
        """
        dense = {name: change(name, tensor) for name, tensor in self.dense.items()}
        rest = {name: change(name, t) if t.is_floating_point() else t for name, t in self._rest.items()}
        for name, tensor in _tensors(self._modules):
            tensor.data = torch.empty_like(dense[name] if name in dense else rest[name])
        changed = replace(self, dense=dense, _rest=rest)
        return changed.at(self.masks, density=self.density, round=self.round)

    def _keep(self, scores: Mapping[str, Tensor], *, revive: bool) -> Masks:
        whole = self.round == 1 and self.masks.kept == self.masks.size
        _check_scores(scores, self.parameters, first_round=whole)
        if self.invert:
            scores = {name: -score for name, score in scores.items()}
        eligible = Masks.ones(self.parameters) if revive else self.masks
        ordered = {name: scores[name] for name in self.parameters}
        selection = select(ordered, eligible, self.density, self.options.scope)
        if self.dtype is not torch.float64:
            _check_underflow(ordered, selection)
        return selection.masks

    def _in_double(self) -> Problem:
        device = torch.device("cpu") if self.device.type == "mps" else self.device
        self.model.to(device=device, dtype=torch.float64)
        examples = self.examples
        wider = replace(
            self,
            parameters=prunable_parameters(self.model, self.options),
            dense={name: tensor.to(device, torch.float64) for name, tensor in self.dense.items()},
            masks=self.masks.to(device),
            examples=examples and (examples[0].to(device, torch.float64), examples[1].to(device)),
            _rest={
                name: tensor.to(device, torch.float64 if tensor.is_floating_point() else tensor.dtype)
                for name, tensor in self._rest.items()
            },
        )
        return wider.at(wider.masks, density=self.density, round=self.round)


def _mask(dense: Tensor, mask: Tensor, out: Tensor) -> None:
    # torch multiplies by bytes of 0 and 1 twice as fast as by booleans.
    torch.mul(dense.detach(), mask.view(torch.uint8), out=out.detach())


def _tensors(modules: Sequence[tuple[str, nn.Module]]) -> Iterator[tuple[str, Tensor]]:
    """Yield all parameters and buffers as they are now, each once and under its first name.

    `Module.named_parameters` walks through all modules every time, which takes longer than a small network's
    forward pass.
    """
    seen: set[int] = set()
    for prefix, module in modules:
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{prefix}.{name}" if prefix else name, tensor


class _PrecisionError(Exception):
    """float32 is not enough for these scores: compute them again in float64."""


def _check_scores(
    scores: Mapping[str, Tensor], parameters: Mapping[str, Tensor], *, first_round: bool
) -> None:
    """Raise an error that names the layer without usable scores.

    The scores of a layer may be constant only where its weights are, or after weights have been removed: in a
    collapsed network there is no gradient.

    Raises:
        ScoreError: Scores are missing, have the wrong shape, type or device, or are not finite or constant.
        _PrecisionError: float32 scores are not finite or constant, perhaps from overflow or underflow.
    """
    for name in parameters.keys() - scores.keys():
        raise ScoreError(f"no scores for layer {name!r}")
    for name in scores.keys() - parameters.keys():
        raise ScoreError(f"scores for {name!r}, which is not prunable here")
    for name, parameter in parameters.items():
        _check_layer(name, scores[name], parameter, first_round=first_round)


def _check_layer(name: str, scores: Tensor, parameter: Tensor, *, first_round: bool) -> None:
    if scores.shape != parameter.shape:
        raise ScoreError(
            f"scores of layer {name!r} have shape {tuple(scores.shape)}, not {tuple(parameter.shape)}"
        )
    if not scores.is_floating_point():
        raise ScoreError(f"scores of layer {name!r} are {scores.dtype}; they must be floating point")
    if scores.device != parameter.device:
        raise ScoreError(
            f"scores of layer {name!r} are on {scores.device}, its weights on {parameter.device}"
        )
    error = ScoreError if parameter.dtype is torch.float64 else _PrecisionError
    low, high = (float(value) for value in torch.aminmax(flattened(scores, order_of(scores))))
    if not (abs(low) < float("inf") and abs(high) < float("inf")):
        raise error(f"scores of layer {name!r} are not finite")
    if first_round and low == high:
        smallest, largest = torch.aminmax(parameter.detach())
        if not bool(smallest == largest):
            raise error(f"scores of layer {name!r} are all {low:g}: they rank nothing")


def _check_underflow(scores: Mapping[str, Tensor], selection: Selection) -> None:
    """Raise `_PrecisionError` if a kept float32 score is zero or subnormal: its rank may be an accident."""
    for name, score in scores.items():
        tiny = torch.finfo(score.dtype).tiny
        if score.dtype is torch.float64 or selection.threshold >= tiny:
            continue
        if bool(((score.detach().abs() < tiny) & selection.masks[name]).any()):
            raise _PrecisionError(f"scores of layer {name!r} underflow in {score.dtype}")
