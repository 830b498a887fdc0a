"""Many random walks at once along the routes of a network, each step drawn by the size of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from synflow_bench import Masks, Problem
from synflow_bench_pruners.crossings import Crossing, Flags, Floats, Ints
from synflow_bench_pruners.routes import Flat, Joined, Layer, Point, trace

Way = TypeVar("Way")

BELOW_ONE = 1 - 1e-9
"""Uniform draws end here: a row's number plus a draw must not round to the next row."""


@dataclass(frozen=True)
class Step:
    """Which walkers took which entries, and for a layer the units before and after."""

    walkers: Ints
    entries: Ints
    inputs: Ints
    outputs: Ints
    crossing: Crossing | None = None

    def of(self, chosen: Flags) -> Step:
        """Only the `chosen` of its walkers."""
        entries = self.entries[chosen] if len(self.entries) else self.entries
        return Step(self.walkers[chosen], entries, self.inputs[chosen], self.outputs[chosen], self.crossing)


class Walks:
    """Walks from input to output and back in turn, through all that can be reached from both."""

    def __init__(self, problem: Problem) -> None:
        self._generator = problem.generator
        self._points = trace(problem)
        self.starts = _starts(problem.masks)
        weights, masks = dict(problem.model.named_parameters()), problem.masks
        self.crossings: dict[str, Crossing] = {}
        for point in self._points:
            if isinstance(point, Layer) and point.weight not in self.crossings:
                weight = problem.dense.get(point.weight, weights[point.weight])
                mask = masks.get(point.weight, torch.ones_like(weight, dtype=torch.bool))
                groups = _groups(point, self._points[point.parents[0]].units, weight)
                self.crossings[point.weight] = Crossing(weight, mask, groups, transposed=point.transposed)
        self._children: list[list[tuple[int, int]]] = [[] for _ in self._points]
        for place, point in enumerate(self._points):
            for slot, parent in enumerate(point.parents):
                self._children[parent].append((place, slot))
        self._turn = 0

    def tour(self, number: int) -> tuple[list[Step], list[Step]]:
        """The steps of `number` walks forward, walkers 0, 2, 4, ..., and back, walkers 1, 3, 5, ...

        Units take turns to be the first. Walks that reach a unit from which nothing goes on are left out.
        """
        turns = self._turn + np.arange(number)
        self._turn += number
        return self._forward(turns), self._backward(turns)

    def _forward(self, turns: Ints) -> list[Step]:
        steps: list[Step] = []
        walkers = 2 * np.arange(len(turns))
        waiting: list[list[tuple[Ints, Ints]]] = [[] for _ in self._points]
        waiting[0].append((walkers, turns % self._points[0].units))
        for place in range(len(self._points)):
            walkers, units = _gathered(waiting[place])
            if not self._children[place]:
                return _finished(steps, walkers)
            for (child, slot), chosen in self._split(self._children[place], walkers):
                waiting[child].append(self._enter(child, slot, walkers[chosen], units[chosen], steps))
        raise AssertionError

    def _enter(
        self, child: int, slot: int, walkers: Ints, units: Ints, steps: list[Step]
    ) -> tuple[Ints, Ints]:
        """Step from a parent into `child`."""
        point = self._points[child]
        if isinstance(point, Layer):
            crossing = self.crossings[point.weight]
            alive = crossing.ahead.totals[units] > 0
            walkers, units = walkers[alive], units[alive]
            entries, outputs = crossing.forth(units, self._uniform(len(units)))
            steps.append(self._step(point, walkers, entries, units, outputs))
            units = outputs
        elif isinstance(point, Flat):
            positions = point.units // self._points[point.parents[0]].units
            units = units * positions + (self._uniform(len(units)) * positions).astype(np.int64)
        elif isinstance(point, Joined):
            units = units + sum(self._points[parent].units for parent in point.parents[:slot])
        self._carry(point, walkers, units, steps)
        return walkers, units

    def _backward(self, turns: Ints) -> list[Step]:
        steps: list[Step] = []
        walkers = 2 * np.arange(len(turns)) + 1
        waiting: list[list[tuple[Ints, Ints]]] = [[] for _ in self._points]
        waiting[-1].append((walkers, turns % self._points[-1].units))
        for place in range(len(self._points) - 1, 0, -1):
            self._leave(place, *_gathered(waiting[place]), waiting, steps)
        return _finished(steps, _gathered(waiting[0])[0])

    def _leave(
        self,
        place: int,
        walkers: Ints,
        units: Ints,
        waiting: list[list[tuple[Ints, Ints]]],
        steps: list[Step],
    ) -> None:
        """Step from `place` back to its parents."""
        point = self._points[place]
        self._carry(point, walkers, units, steps)
        if isinstance(point, Layer):
            crossing = self.crossings[point.weight]
            alive = crossing.back.totals[units] > 0
            walkers, units = walkers[alive], units[alive]
            entries, inputs = crossing.back_from(units, self._uniform(len(units)))
            steps.append(self._step(point, walkers, entries, inputs, units))
            waiting[point.parents[0]].append((walkers, inputs))
        elif isinstance(point, Flat):
            positions = point.units // self._points[point.parents[0]].units
            waiting[point.parents[0]].append((walkers, units // positions))
        elif isinstance(point, Joined):
            ends = np.cumsum([self._points[parent].units for parent in point.parents])
            slots = np.searchsorted(ends, units, side="right")
            for slot, parent in enumerate(point.parents):
                chosen = slots == slot
                start = ends[slot] - self._points[parent].units
                waiting[parent].append((walkers[chosen], units[chosen] - start))
        else:
            for parent, chosen in self._split(point.parents, walkers):
                waiting[parent].append((walkers[chosen], units[chosen]))

    def _split(self, ways: Sequence[Way], walkers: Ints) -> Iterator[tuple[Way, Flags]]:
        """Send each walker one of `ways`, all as likely."""
        if len(ways) == 1:
            yield ways[0], np.ones(len(walkers), dtype=np.bool_)
            return
        chosen = (self._uniform(len(walkers)) * len(ways)).astype(np.int64)
        for number, way in enumerate(ways):
            yield way, chosen == number

    def _step(self, point: Layer, walkers: Ints, entries: Ints, inputs: Ints, outputs: Ints) -> Step:
        start = self.starts.get(point.weight)
        kept = entries[:0] if start is None else entries + start
        return Step(walkers, kept, inputs, outputs, self.crossings[point.weight])

    def _carry(self, point: Point, walkers: Ints, units: Ints, steps: list[Step]) -> None:
        """A unit comes with its bias, its scale and its shift."""
        starts = [self.starts[name] for name in point.carried if name in self.starts]
        steps.extend(Step(walkers, units + start, units, units) for start in starts)

    def _uniform(self, number: int) -> Floats:
        drawn = torch.rand(number, generator=self._generator, dtype=torch.float64)
        uniform: Floats = drawn.numpy() * BELOW_ONE
        return uniform


def _groups(point: Layer, inputs: int, weight: Tensor) -> int:
    return point.units // weight.shape[1] if point.transposed else inputs // weight.shape[1]


def _starts(masks: Masks) -> dict[str, int]:
    """Where each prunable tensor begins when all are put in one row."""
    ends = np.cumsum([mask.numel() for mask in masks.values()])
    return {name: int(end) - masks[name].numel() for name, end in zip(masks, ends, strict=True)}


def _gathered(arrivals: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    if not arrivals:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    walkers, units = zip(*arrivals, strict=True)
    return np.concatenate(walkers), np.concatenate(units)


def _finished(steps: list[Step], walkers: Ints) -> list[Step]:
    """The steps of those `walkers` that came through."""
    arrived = np.zeros(max((int(s.walkers.max(initial=0)) for s in steps), default=0) + 1, dtype=np.bool_)
    arrived[walkers] = True
    return [step.of(arrived[step.walkers]) for step in steps]
