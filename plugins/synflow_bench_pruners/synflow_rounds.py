"""Rounds of a score on ever smaller networks: units that no path reaches are removed between rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from synflow_bench import Masks, Problem
from synflow_bench.compaction import CompactNetwork, MaskedNetwork, compact
from synflow_bench.graph import Graph, Untraceable, call_with, trace
from synflow_bench.pruning import kept_count
from synflow_bench.pruning.network_state import convert
from synflow_bench_pruners.helpers import channels_last
from synflow_bench_pruners.replayed_flow import ReplayedFlow

LARGE = 1 << 20
"""The number of weights from which the remaining rounds cost more than the search for dead units."""

FALL = 0.5
"""The share to which the kept weights must have fallen before the next search."""

WORTH = 0.7
"""The largest share of the network left at which the remaining rounds make up for building a smaller one."""

ROUNDS = 20
"""The smallest number of remaining rounds for a search."""

REPLAYED = 10
"""The number of rounds above which a small network is recorded, which takes as long as three of them."""


def in_compacted_rounds(
    problem: Problem,
    targets: list[float],
    score: Callable[[Problem], Mapping[str, Tensor]],
    lay_out: Callable[[Tensor], Tensor],
    level: float = 1.0,
) -> Masks:
    """Prune in rounds; the masks are those of rounds on the whole network, except for rounding.

    Args:
        problem: The problem of the first round.
        targets: The density of every round.
        score: Must leave the network as it is, and give 0 to a weight on no path to the output and at least 0
            to all others, so that plain rounds would remove the former first, except for ties.
        lay_out: Gives a tensor of a smaller network its memory layout.
        level: The value of the input's entries.
    """
    return _Rounds(problem, score, lay_out, level).run(targets)


class _Rounds:
    def __init__(
        self,
        problem: Problem,
        score: Callable[[Problem], Mapping[str, Tensor]],
        lay_out: Callable[[Tensor], Tensor],
        level: float,
    ) -> None:
        self._problem, self._score, self._lay_out, self._level = problem, score, lay_out, level
        self._size, self._kept_at_search = problem.masks.size, problem.masks.kept
        self._parts: list[CompactNetwork] = []
        self._graph: Graph | Untraceable | None = None
        self._scores: Mapping[str, Tensor] = {}

    def run(self, targets: list[float]) -> Masks:
        whole = self._problem
        masks = whole.masks
        wanted = [kept_count(target, self._size) for target in targets]
        round = 0
        while round < len(wanted):
            k, round = wanted[round], round + 1
            here = self._problem.narrowed(masks, density=k / masks.size, round=round)
            self._problem, kept = here.keep(self._noted)
            if round == 1 and len(wanted) > REPLAYED and self._can_be_replayed():
                flow = ReplayedFlow.of(self._problem, self._level, self._scores, masks)
                if flow is not None:
                    kept, replayed = flow.keep(kept, wanted[1:])
                    self._problem.count_passes(3 * replayed)
                    round += replayed
            masks = kept
            if len(wanted) - round >= ROUNDS and self._is_worth_a_search(k, masks.size):
                masks = self._compacted(masks, at_least=wanted[round])
        convert(whole.model, whole.device, self._problem.dtype)
        for part in reversed(self._parts):
            masks = Masks(part.expand_masks(masks))
        return masks

    def _noted(self, problem: Problem) -> Mapping[str, Tensor]:
        self._scores = self._score(problem)
        return self._scores

    @property
    def _is_plain(self) -> bool:
        """True if single weights of the whole network are ranked by the flow of an image."""
        problem, options = self._problem, self._problem.options
        ranks = options.scope == "global" and options.granularity == "weight" and not problem.invert
        return ranks and problem.example_inputs is None

    def _can_be_replayed(self) -> bool:
        problem = self._problem
        images = len(problem.input_shape) == 3 and self._lay_out is channels_last
        return self._is_plain and images and problem.device.type == "cpu" and self._size < LARGE

    def _is_worth_a_search(self, kept: int, size: int) -> bool:
        return self._is_plain and size >= LARGE and kept < FALL * self._kept_at_search

    def _compacted(self, masks: Masks, *, at_least: int) -> Masks:
        """Go on with a smaller problem if there is one that has the weights of the next round.

        Returns:
            The masks of the problem that the next round scores.
        """
        self._kept_at_search = masks.kept
        problem = self._problem
        image = torch.full((1, *problem.input_shape), self._level, dtype=problem.dtype, device=problem.device)
        self._graph = self._graph or trace(problem.model, image)
        same = partial(_same_flow, image)
        small = compact(problem.model, masks, self._graph, problem.input_shape, same, WORTH)
        if small is None or Masks(small.masks).kept < at_least:
            return masks
        self._parts.append(small)
        self._graph = None

        def of(name: str, tensor: Tensor) -> Tensor:
            return self._lay_out(small.compact_tensor(name, tensor))

        self._problem = problem.part(small.model, of)
        return Masks({name: of(name, mask) for name, mask in masks.items()})


@torch.no_grad()
def _same_flow(image: Tensor, whole: MaskedNetwork, small: MaskedNetwork, _shape: tuple[int, ...]) -> bool:
    """Return True if the outputs are equal, except for rounding."""
    outputs = []
    for model, masks in (whole, small):
        state = {
            name: parameter * masks[name] if name in masks else parameter
            for name, parameter in model.named_parameters()
        }
        outputs.append(call_with(model, state, image).double())
    return bool((outputs[0] - outputs[1]).abs().max() <= 1e-4 * outputs[0].abs().max())
