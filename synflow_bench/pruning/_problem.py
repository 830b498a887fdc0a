"""What a pruner is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from math import prod
from typing import Self

import torch
from torch import Tensor, nn

from synflow_bench.errors import PluginError
from synflow_bench.pruning._guard import PrecisionError, check_scores, check_underflow
from synflow_bench.pruning._masks import Masks
from synflow_bench.pruning._prunable import prunable_parameters
from synflow_bench.pruning._selection import select
from synflow_bench.suites import PruningOptions

Loss = Callable[[Tensor, Tensor], Tensor]
Score = Callable[["Problem"], Mapping[str, Tensor]]
Examples = tuple[Tensor, Tensor]
"""Inputs (N, ...) floating point and labels (N,) int64."""

BATCH = 256
NUMBERS = BATCH * 3 * 64 * 64


@dataclass(frozen=True)
class Problem:
    """One round of one pruning: a network, its prunable weights, and the data that may be looked at.

    `model` is a copy made for this pruning, in eval mode, its masked weights zero; it may be changed, the
    harness restores it before the next round. `parameters` are its prunable tensors, `dense` their values
    before any mask. `density` is the share of weights to keep after this round, `round` counts from 1.
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
        """Pose the problem of pruning `model`, which is copied and never touched."""
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
        """Where the network and the data are."""
        return next(iter(self.parameters.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """float32, or float64 where float32 is not enough."""
        return next(iter(self.parameters.values())).dtype

    def batches(self, size: int | None = None) -> Iterator[Examples]:
        """The scoring data: unaugmented, equally many examples of every class, copied `size` at a time.

        By default that is 256 of up to 64x64 in three colours, and fewer of larger ones.
        """
        size = size or max(1, min(BATCH, NUMBERS // prod(self.input_shape)))
        if self.examples is None:
            raise PluginError(
                "this pruning has no data; a pruner that asks for batches sets needs_data = True"
            )
        inputs, labels = self.examples
        for start in range(0, len(labels), size):
            part = slice(start, start + size)
            yield inputs[part].clone(), labels[part].clone()

    def at(self, masks: Masks, *, density: float, round: int) -> Problem:
        """The next round: weights, buffers, modes and gradients as at the start, and `masks` applied."""
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
        """`at` for less than was kept before, after a score that left the network as it found it."""
        masks, tensors = masks.check(self.parameters), dict(_tensors(self._modules))
        for name in self.parameters:
            _mask(tensors[name], masks[name], tensors[name])
        return replace(self, masks=masks, density=density, round=round)

    def part(self, model: nn.Module, of: Callable[[str, Tensor], Tensor]) -> Problem:
        """The same pruning of `model`, a part of this network with the same names; `of` cuts its tensors."""
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
        """The same pruning with `change` made of all parameters and floating-point buffers, for every round.

        `change` gets a name and dense values and must keep their shape; it may choose another layout in
        memory.
        """
        dense = {name: change(name, tensor) for name, tensor in self.dense.items()}
        rest = {name: change(name, t) if t.is_floating_point() else t for name, t in self._rest.items()}
        for name, tensor in _tensors(self._modules):
            tensor.data = torch.empty_like(dense[name] if name in dense else rest[name])
        changed = replace(self, dense=dense, _rest=rest)
        return changed.at(self.masks, density=self.density, round=self.round)

    def keep(self, score: Score, *, revive: bool = False) -> tuple[Problem, Masks]:
        """Score this round and keep the `density` share of largest scores; in float64 where float32 fails.

        With `revive`, masked weights compete again. Returns the problem as it was scored, and the masks.
        """
        try:
            return self, self._keep(score(self), revive=revive)
        except PrecisionError:
            wider = self._in_double()
            return wider, wider._keep(score(wider), revive=revive)

    def _keep(self, scores: Mapping[str, Tensor], *, revive: bool) -> Masks:
        whole = self.round == 1 and self.masks.kept == self.masks.size
        check_scores(scores, self.parameters, first_round=whole)
        if self.invert:
            scores = {name: -score for name, score in scores.items()}
        eligible = Masks.ones(self.parameters) if revive else self.masks
        ordered = {name: scores[name] for name in self.parameters}
        selection = select(ordered, eligible, self.density, self.options.scope)
        if self.dtype is not torch.float64:
            check_underflow(ordered, selection)
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
    """out = dense * mask. torch multiplies by bytes of 0 and 1 twice as fast as by booleans."""
    torch.mul(dense.detach(), mask.view(torch.uint8), out=out.detach())


def _tensors(modules: Sequence[tuple[str, nn.Module]]) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers as they are now, each once and under its first name.

    `Module.named_parameters` walks through all modules every time, which takes longer than a small network's
    forward pass.
    """
    seen: set[int] = set()
    for prefix, module in modules:
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and id(tensor) not in seen:
                seen.add(id(tensor))
                yield f"{prefix}.{name}" if prefix else name, tensor
