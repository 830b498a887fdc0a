"""Masks that change in a training: when they do, what they become, and the state of the decision.

The decision itself is a function that the caller gives; see `synflow_bench.pruning.TrainingPruner`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn, optim


@dataclass(frozen=True)
class MaskSpan:
    """Optimizer steps under masks with the same number of kept weights in every layer.

    Attributes:
        steps: The steps, by the number of optimizer steps before each.
        kept: The number of kept weights by parameter name.
    """

    steps: range
    kept: dict[str, int]


@dataclass(frozen=True)
class ChangeStep:
    """The state of a training at a step at which its masks may change; nothing of it is changed in place.

    Attributes:
        step: The number of optimizer steps before it.
        lr: The learning rate of the step.
        weights: The weights under the masks, by name; removed ones are zero.
        gradients: Of the batch of this step, for removed weights too; None for a parameter without one, and
            no mapping where the decision needs none.
    """

    step: int
    lr: float
    weights: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor | None] | None


Decide = Callable[["MaskChanges", ChangeStep], Mapping[str, Tensor]]
"""Return the new masks, given the present ones and the state of the training."""


@dataclass
class MaskChanges:
    """The masks of a training that changes them.

    At a step of `due`, the masks change before the optimizer step. If the decision needs gradients, it takes
    the place of the optimizer step: the gradients are those under the old masks.

    Attributes:
        masks: The present masks, bool tensors by parameter name.
        decide: Returns the next ones.
        due: The steps at which masks change, by the number of optimizer steps before them.
        needs_gradients: True if the decision needs gradients.
        generator: The generator of all that the decision draws, on the CPU.
        values: The values that weights grow with, by name; zero where there are none. The decision
            may set others.
        state: Tensors that the decision keeps from one change to the next, by name.
        spans: The first step under each new number of kept weights per layer, and these numbers.
    """

    masks: Mapping[str, Tensor]
    decide: Decide
    due: range
    needs_gradients: bool
    generator: torch.Generator
    values: dict[str, Tensor] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    spans: list[tuple[int, list[int]]] = field(default_factory=list)

    @torch.no_grad()
    def apply(self, model: nn.Module, optimizer: optim.Optimizer, step: int, lr: float) -> None:
        """Change the masks, and with them the weights and the state of the optimizer.

        Removed weights become zero, grown ones begin with zero or their value of `values`, and what the
        optimizer remembers of either becomes zero.
        """
        parameters = dict(model.named_parameters())
        named = {name: parameters[name] for name in self.masks}
        gradients = None
        if self.needs_gradients:
            gradients = {name: _copied(parameter.grad) for name, parameter in named.items()}
        weights = {name: parameter.detach().clone() for name, parameter in named.items()}
        for tensors in (self.values, self.state):
            self._make_as_saved(tensors)
        before, decided = self.masks, self.decide(self, ChangeStep(step, lr, weights, gradients))
        self.masks = {name: decided[name].clone() for name in before}  # in the order of the counts
        self.count(step)
        for name, parameter in named.items():
            stays, grown = before[name] & self.masks[name], self.masks[name] & ~before[name]
            parameter.masked_fill_(~stays, 0)
            if name in self.values:
                parameter.copy_(torch.where(grown, self.values[name].to(parameter), parameter))
            for remembered in optimizer.state.get(parameter, {}).values():
                if isinstance(remembered, Tensor) and remembered.shape == parameter.shape:
                    remembered.masked_fill_(~stays, 0)

    def _make_as_saved(self, tensors: dict[str, Tensor]) -> None:
        """Make `tensors` what a checkpoint keeps of them: in the order of names, with memory of their own.

        A training that is not interrupted so decides by the same as one that continues from a checkpoint.
        """
        device, plain = next(iter(self.masks.values())).device, torch.contiguous_format
        for name in sorted(tensors):
            tensors[name] = tensors.pop(name).detach().to(device, copy=True, memory_format=plain)

    def count(self, step: int) -> None:
        """Begin a span at `step`, if the masks keep other numbers of weights than before."""
        kept = [int(mask.count_nonzero()) for mask in self.masks.values()]
        if not self.spans or self.spans[-1][1] != kept:
            self.spans.append((step, kept))

    def spans_until(self, step: int) -> tuple[MaskSpan, ...]:
        """Return the spans up to optimizer step `step`, without empty ones."""
        ends = [first for first, _ in self.spans[1:]] + [step]
        return tuple(
            MaskSpan(range(first, end), dict(zip(self.masks, kept, strict=True)))
            for (first, kept), end in zip(self.spans, ends, strict=True)
            if end > first
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that `load` needs, by name."""
        parts = {"masks": self.masks, "values": self.values, "state": self.state}
        named = {f"{part}/{name}": t for part, tensors in parts.items() for name, t in tensors.items()}
        spans = torch.tensor([[first, *kept] for first, kept in self.spans], dtype=torch.int64)
        return {**named, "generator": self.generator.get_state(), "spans": spans}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from what `tensors` has returned, on the device of the masks."""
        device = next(iter(self.masks.values())).device

        def part(name: str) -> dict[str, Tensor]:
            prefix = f"{name}/"
            return {
                key.removeprefix(prefix): tensor.to(device, copy=True)
                for key, tensor in tensors.items()
                if key.startswith(prefix)
            }

        masks = part("masks")
        self.masks = {name: masks[name] for name in self.masks}  # in the order of the counts
        self.values, self.state = part("values"), part("state")
        self.generator.set_state(tensors["generator"].cpu())
        self.spans = [(first, kept) for first, *kept in tensors["spans"].tolist()]


def _copied(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.detach().clone()
