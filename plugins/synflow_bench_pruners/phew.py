"""PHEW: Paths with Higher Edge Weights."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from synflow_bench import Masks, Problem, Pruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import apportion, kept_count
from synflow_bench_pruners.walks import Flags, Ints, Walks, WalkStep

BATCH = 1 << 13
"""The largest number of walks in one direction that are made at once."""

STALE = 0.1
"""The share of new weights among the steps of walks below which the rest is drawn without walking."""

Part = tuple[int, int]
"""The first entry of a prunable tensor, or of all, in the row of all tensors, and the end."""


class Phew(Pruner):
    """PHEW: keep weights on random walks along large weights.

    Walks go from input to output and back in turn, and the units (channels) of the input and of the output
    take turns to be the first. A unit's next unit is drawn with P ~ L1 norm of the kernel between them, then
    the entry of that kernel with P ~ |w|: together with P ~ |w| among all entries that leave the unit (on the
    way back: that enter it). A unit comes with its bias, scale and shift, where these are pruned. Where ways
    part or meet, each is as likely; but a walk goes past an identity shortcut, as in the official code,
    unless its scale is pruned. Where a feature map is flattened, each position is as likely.

    Paper: Patil, Dovrolis, "PHEW: Constructing Sparse Networks that Learn Fast and Generalize Well Without
    Training Data", 2021, arXiv 2010.11354. The official code knows the order of the layers of its own
    networks, keeps up to one walk of weights too many, and keeps biases of visited units without counting
    them.

    Here exactly round(rho N) weights are kept. The walk that would be too long is left out, and the missing
    weights are drawn among the entries between visited units, with P ~ their expected visits, so that every
    kept weight lies on a kept path. The same completes the masks once walks find few new weights. Only where
    no such entry is left, the last walk is cut short, and weights that no walk can reach come last. Local
    scope walks until all layers are full, and keeps in each the weights that came first; paths may then
    break. The ablation `invert` removes the weights of the walks.

    The walks follow the traced graph of the network. `prune` raises `ModelError` for a network that cannot be
    traced.
    """

    needs_data: ClassVar[bool] = False
    revision: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds != 1:
            raise UsageError(
                f"phew draws its masks at once: rounds={self.rounds} has no effect, leave it out"
            )

    def prune(self, problem: Problem, density: float) -> Masks:
        """Return the masks of the walks."""
        rooms = _rooms(problem, density)
        if problem.invert:
            before = problem.masks.layer_kept
            rooms = {name: before.get(name, problem.masks.kept) - room for name, room in rooms.items()}
        walked = _Growth(problem, rooms).grow()
        flat = torch.from_numpy(walked).to(problem.device)
        parts = flat.split([mask.numel() for mask in problem.masks.values()])  # type: ignore[no-untyped-call]
        pairs = zip(problem.masks.items(), parts, strict=True)
        masks = {name: part.view(mask.shape) for (name, mask), part in pairs}
        return Masks({n: problem.masks[n] & ~m for n, m in masks.items()} if problem.invert else masks)


def _rooms(problem: Problem, density: float) -> dict[str, int]:
    """The number of weights to keep of each tensor, or under the name "" of all together."""
    if problem.options.scope == "global":
        return {"": kept_count(density, problem.masks.size)}
    sizes = {name: mask.numel() for name, mask in problem.masks.items()}
    return apportion(sizes, density, problem.masks.layer_kept)


class _Growth:
    """Masks that grow walk by walk; all prunable tensors are laid out in one row."""

    def __init__(self, problem: Problem, rooms: dict[str, int]) -> None:
        self._walks = Walks(problem)
        self._generator = problem.generator
        self._allowed: Flags = np.concatenate([m.cpu().numpy().reshape(-1) for m in problem.masks.values()])
        self._kept = np.zeros_like(self._allowed)
        self._rooms = {self._part(problem, name): room for name, room in rooms.items()}
        self._cut: Ints = np.zeros(0, dtype=np.int64)

    def _part(self, problem: Problem, name: str) -> Part:
        if not name:
            return 0, len(self._kept)
        start = self._walks.starts[name]
        return start, start + problem.masks[name].numel()

    def grow(self) -> Flags:
        """Walk while that finds new weights, draw those that are then missing, and return the kept ones."""
        open_parts = {part for part in self._rooms if self._missing(part)}
        while open_parts:
            number = min(BATCH, max(64, sum(map(self._missing, open_parts)) // 8))
            before = np.count_nonzero(self._kept)
            open_parts, steps = self._walk(number, open_parts)
            if np.count_nonzero(self._kept) - before <= STALE * steps:
                break
        if any(map(self._missing, self._rooms)):
            self._fill()
        return self._kept

    def _missing(self, part: Part) -> int:
        return self._rooms[part] - int(np.count_nonzero(self._kept[slice(*part)]))

    def _walk(self, number: int, parts: set[Part]) -> tuple[set[Part], int]:
        """Keep the entries of `number` walks in each direction while there is room.

        Returns:
            The parts with more room, and the number of steps of the walks.
        """
        tour = self._walks.tour(number)
        entries, walkers = _first_visits([*tour[0], *tour[1]], self._kept, self._allowed)
        ends = {}
        for part in parts:
            here = (entries >= part[0]) & (entries < part[1])
            ends[part] = self._take(entries[here], walkers[here], self._missing(part), 2 * number)
        for steps, forward in zip(tour, (True, False), strict=True):
            for step in steps:
                walked = step.of(step.walkers < max(ends.values()))
                if walked.crossing is not None:
                    walked.crossing.record(walked.inputs, walked.outputs, forward=forward)
        length = sum(len(step.entries) for way in tour for step in way)
        return {part for part in parts if ends[part] == 2 * number and self._missing(part)}, length

    def _take(self, entries: Ints, walkers: Ints, room: int, number: int) -> int:
        """Keep the entries of whole walks while there is room; return the first walker that has none."""
        end = number if len(entries) <= room else int(walkers[room])
        self._kept[entries[walkers < end]] = True
        self._cut = np.concatenate([self._cut, entries[walkers == end]])
        return end

    def _fill(self) -> None:
        """Keep the missing number: entries between visited units, then of the walk that was cut, then any."""
        clocks = -np.log1p(
            -torch.rand(len(self._kept), generator=self._generator, dtype=torch.float64).numpy()
        )
        visits = np.zeros(len(self._kept))
        for crossing in self._walks.crossings.values():
            if crossing.name in self._walks.starts:
                start = self._walks.starts[crossing.name]
                visits[start : start + len(crossing.sizes)] += crossing.expected_visits()
        ranks = np.full(len(clocks), 2.0)
        ranks[self._cut] = 1
        ranks[visits > 0] = 0
        with np.errstate(divide="ignore"):
            clocks = np.where(visits > 0, clocks / visits, clocks)
        clocks[self._cut] = np.where(visits[self._cut] > 0, clocks[self._cut], np.arange(len(self._cut)))
        for part in self._rooms:
            places = part[0] + np.flatnonzero((self._allowed & ~self._kept)[slice(*part)])
            order = np.lexsort((clocks[places], ranks[places]))
            self._kept[places[order[: self._missing(part)]]] = True


def _first_visits(steps: list[WalkStep], kept: Flags, allowed: Flags) -> tuple[Ints, Ints]:
    """Return new entries, each once, with the first walker that took each, in the order of the walks."""
    listed = [step for step in steps if len(step.entries)]
    if not listed:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    entries = np.concatenate([step.entries for step in listed])
    walkers = np.concatenate([step.walkers for step in listed])
    new = ~kept[entries] & allowed[entries]
    entries, walkers = entries[new], walkers[new]
    order = np.argsort(walkers, kind="stable")
    entries, walkers = entries[order], walkers[order]
    _, first = np.unique(entries, return_index=True)
    first.sort()
    return entries[first], walkers[first]
