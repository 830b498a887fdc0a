"""Rounds of a score that ask ever less of the network: what nothing reads is taken out on the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from synflow_bench import Masks, Problem
from synflow_bench.metrics import Connectivity, NotFollowed, trace
from synflow_bench.pruning import count
from synflow_bench.shrinking import Masked, Shrunk, shrink

LARGE = 1 << 20
"""Weights from which the rounds to come cost more than looking for what is read."""

FALL = 0.5
"""To what share the kept weights must have fallen before looking again."""

WORTH = 0.7
"""The share of the network that may be left for the rounds to come to make up for building a smaller one."""

ROUNDS = 20
"""How many rounds must be to come."""


def in_shrinking_rounds(
    problem: Problem,
    targets: list[float],
    score: Callable[[Problem], Mapping[str, Tensor]],
    lay_out: Callable[[Tensor], Tensor],
) -> Masks:
    """A round for each density of `targets`; the masks are those of plain rounds, but for rounding.

    `score` must leave the network as it finds it, and give 0 to a weight on no path to the output and more
    to all others: the round after would remove those first. `lay_out` sees to the memory of what is left.
    """
    return _Rounds(problem, score, lay_out).run(targets)


class _Rounds:
    def __init__(
        self,
        problem: Problem,
        score: Callable[[Problem], Mapping[str, Tensor]],
        lay_out: Callable[[Tensor], Tensor],
    ) -> None:
        self._problem, self._score, self._lay_out = problem, score, lay_out
        self._size, self._looked_at = problem.masks.size, problem.masks.kept
        self._parts: list[Shrunk] = []
        self._connectivity: Connectivity | NotFollowed | None = None

    def run(self, targets: list[float]) -> Masks:
        whole = self._problem
        masks = whole.masks
        wanted = [count(target, self._size) for target in targets]
        for round, k in enumerate(wanted, start=1):
            here = self._problem.narrowed(masks, density=k / masks.size, round=round)
            self._problem, masks = here.keep(self._score)
            if len(wanted) - round >= ROUNDS and self._is_worth_looking(k, masks.size):
                masks = self._shrunk(masks, at_least=wanted[round])
        whole.model.to(self._problem.dtype)
        for part in reversed(self._parts):
            masks = Masks(part.spread(masks))
        return masks

    def _is_worth_looking(self, kept: int, size: int) -> bool:
        plain = self._problem.options.scope == "global" and not self._problem.invert
        return plain and size >= LARGE and kept < FALL * self._looked_at

    def _shrunk(self, masks: Masks, *, at_least: int) -> Masks:
        """The masks of a smaller problem, if there is one and it has the weights of the next round."""
        self._looked_at = masks.kept
        problem = self._problem
        ones = torch.ones(1, *problem.input_shape, dtype=problem.dtype, device=problem.device)
        self._connectivity = self._connectivity or trace(problem.model, ones)
        same = partial(_same_flow, ones)
        small = shrink(problem.model, masks, self._connectivity, problem.input_shape, same, WORTH)
        if small is None or Masks(small.masks).kept < at_least:
            return masks
        self._parts.append(small)
        self._connectivity = None

        def of(name: str, tensor: Tensor) -> Tensor:
            return self._lay_out(small.part(name, tensor))

        self._problem = problem.part(small.model, of)
        return Masks({name: of(name, mask) for name, mask in masks.items()})


@torch.no_grad()
def _same_flow(ones: Tensor, whole: Masked, small: Masked, input_shape: tuple[int, ...]) -> bool:  # noqa: ARG001
    """Whether the total flow is the same, but for rounding; no unit's flow can make up for another's."""
    flows = []
    for model, masks in (whole, small):
        state = {
            name: parameter * masks[name] if name in masks else parameter
            for name, parameter in model.named_parameters()
        }
        flows.append(float(torch.func.functional_call(model, state, (ones,)).double().sum()))
    return abs(flows[0] - flows[1]) <= 1e-4 * abs(flows[0])
