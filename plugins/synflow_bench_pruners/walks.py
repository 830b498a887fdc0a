"""Random walks through the traced graph of a network, each step drawn by the size of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synflow_bench import Masks, Problem
from synflow_bench.errors import ModelError
from synflow_bench.graph import Edges, Graph, LayerEdges, Untraceable, View, trace

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Arrivals = list[list[tuple[Ints, Ints]]]
"""For each block of nodes the walkers that have arrived there, and the nodes at which they stand."""

BELOW_ONE = 1 - 1e-9
"""The end of the range of uniform draws: the number of a row plus a draw must not round to the next row."""


class Rows:
    """Columns drawn with the probabilities `shares` (rows, columns), which need not sum to one."""

    def __init__(self, shares: Floats) -> None:
        self.columns = shares.shape[1]
        sums = np.cumsum(shares, axis=1)
        self.totals: Floats = sums[:, -1].copy()
        with np.errstate(invalid="ignore"):
            sums /= self.totals[:, None]
        sums[self.totals == 0] = 1
        sums += np.arange(len(sums))[:, None]
        self._ends: Floats = sums.reshape(-1)

    def draw(self, rows: Ints, uniform: Floats) -> Ints:
        """Draw a column for each of `rows`, whose totals must be positive."""
        found: Ints = np.searchsorted(self._ends, rows + uniform, side="right")
        columns: Ints = found - rows * self.columns
        return columns


class Crossing:
    """The entries of one weight tensor as steps between its input nodes and its output nodes.

    Of the entries that leave an input node (enter an output node), each is drawn with P ~ |w| among those
    that may be kept; uniformly where all of these are zero.

    Args:
        view: How the layer sees the tensor: (groups, outputs, inputs, kernel...).
        weight: The tensor before any mask.
        mask: True for entries that may be kept and meet more than padding; of the shape of `weight`.
    """

    def __init__(self, view: View, weight: Tensor, mask: Tensor) -> None:
        self.name = view.name
        self._allowed: Flags = mask.cpu().numpy().astype(np.bool_).reshape(-1)
        self.sizes: Floats = weight.detach().double().abs().cpu().numpy().reshape(-1) * self._allowed
        numbers = view.of(_entry_numbers(view))
        self._entries: Ints = numbers.reshape(*numbers.shape[:3], -1).numpy()
        groups, self.outputs, self.inputs, self.kernel = self._entries.shape
        self.ahead = self._rows(self._entries.transpose(0, 2, 1, 3).reshape(groups * self.inputs, -1))
        self.back = self._rows(self._entries.reshape(groups * self.outputs, -1))
        self._visits_ahead = np.zeros(groups * self.inputs)
        self._visits_back = np.zeros(groups * self.outputs)
        self._seen_inputs = np.zeros(groups * self.inputs, dtype=np.bool_)
        self._seen_outputs = np.zeros(groups * self.outputs, dtype=np.bool_)

    def _rows(self, entries: Ints) -> Rows:
        shares = self.sizes[entries]
        empty = ~shares.any(axis=1)
        shares[empty] = self._allowed[entries[empty]]
        return Rows(shares)

    def step_ahead(self, inputs: Ints, uniform: Floats) -> tuple[Ints, Ints]:
        """Draw entries that leave the input nodes; return them and the output nodes that they lead to."""
        column = self.ahead.draw(inputs, uniform)
        group, node = inputs // self.inputs, inputs % self.inputs
        output, position = column // self.kernel, column % self.kernel
        return self._entries[group, output, node, position], group * self.outputs + output

    def step_back(self, outputs: Ints, uniform: Floats) -> tuple[Ints, Ints]:
        """Draw entries that enter the output nodes; return them and the input nodes that they come from."""
        column = self.back.draw(outputs, uniform)
        group, output = outputs // self.outputs, outputs % self.outputs
        node, position = column // self.kernel, column % self.kernel
        return self._entries[group, output, node, position], group * self.inputs + node

    def record(self, inputs: Ints, outputs: Ints, *, forward: bool) -> None:
        """Count visits by walks that went from `inputs` to `outputs`, or the other way."""
        counts, nodes = (self._visits_ahead, inputs) if forward else (self._visits_back, outputs)
        counts += np.bincount(nodes, minlength=len(counts))
        self._seen_inputs[inputs] = True
        self._seen_outputs[outputs] = True

    def expected_visits(self) -> Floats:
        """Return the visits to expect of each entry (size,) so far; 0 where a node at its ends had none."""
        groups, *_ = self._entries.shape
        ahead = _ratio(self._visits_ahead, self.ahead.totals) * self._seen_inputs
        back = _ratio(self._visits_back, self.back.totals) * self._seen_outputs
        ahead, back = ahead.reshape(groups, 1, -1, 1), back.reshape(groups, -1, 1, 1)
        seen = self._seen_inputs.reshape(ahead.shape) & self._seen_outputs.reshape(back.shape)
        factors = np.zeros(len(self.sizes))
        factors[self._entries] = (ahead + back) * seen
        return factors * self.sizes


class Places:
    """The places at which nodes stand in a list of nodes (n,); one of them is drawn for each walker."""

    def __init__(self, nodes: Ints) -> None:
        self._order = np.argsort(nodes, kind="stable")
        ordered = nodes[self._order]
        self._low, high = (int(ordered[0]), int(ordered[-1])) if len(nodes) else (0, 0)
        self._first = np.searchsorted(ordered, np.arange(self._low, high + 2))
        self.repeat = bool((ordered[1:] == ordered[:-1]).any())

    def draw(self, nodes: Ints, uniform: Callable[[int], Floats]) -> Ints:
        """Draw a place for each of `nodes`, each of its places as likely."""
        place = self._first[nodes - self._low]
        if self.repeat:
            number = self._first[nodes - self._low + 1] - place
            place = place + (uniform(len(nodes)) * number).astype(np.int64)
        found: Ints = self._order[place]
        return found


class Move:
    """One step of the graph: edges from the nodes `sources` to the nodes `targets`.

    With a `crossing` every source has an edge to every target of its group, and the weights are drawn; else
    edge e leads from `sources[e]` to `targets[e]`.
    """

    def __init__(self, sources: Ints, targets: Ints, crossing: Crossing | None) -> None:
        self.sources, self.targets, self.crossing = sources, targets, crossing
        self.ahead, self.back = Places(sources), Places(targets)


@dataclass(frozen=True)
class WalkStep:
    """The walkers of one step and the entries that they take, counted over all prunable tensors in a row.

    `entries` is empty where the tensor is not prunable. Of a layer there are also the `crossing` and the
    places of the nodes before and after.
    """

    walkers: Ints
    entries: Ints
    inputs: Ints
    outputs: Ints
    crossing: Crossing | None = None

    def of(self, chosen: Flags) -> WalkStep:
        """Return the same step of the `chosen` walkers only."""
        entries = self.entries[chosen] if len(self.entries) else self.entries
        return WalkStep(
            self.walkers[chosen], entries, self.inputs[chosen], self.outputs[chosen], self.crossing
        )


class Walks:
    """Walks from input to output and back in turn, through all that can be reached from both.

    The nodes that one step of the graph makes are a block. Block 0 has the nodes of the input, block b those
    that move b makes, and every move leads from earlier blocks to a later one.

    Args:
        problem: The network and its masks; draws come from its generator.

    Raises:
        ModelError: The graph of the network or the use of one of its weights is not known.
    """

    def __init__(self, problem: Problem) -> None:
        self._generator = problem.generator
        self._turn = 0
        self.starts = _starts(problem.masks)
        graph = _traced(problem)
        self._inputs, self._outputs = graph.inputs.numpy(), graph.outputs.numpy()
        self._ends: Flags = np.isin(np.arange(graph.num_nodes), self._outputs)
        made = [step.outputs if isinstance(step, LayerEdges) else step.targets for step in graph.steps]
        self._first: Ints = np.array([0, *(int(nodes.min()) for nodes in made), graph.num_nodes])
        # One place more than nodes: a constant, -1, is in no block.
        self._block: Ints = np.append(np.repeat(np.arange(len(made) + 1), np.diff(self._first)), -1)
        # The layers of learned tokens, at which walks back may end.
        self._constant = {block for block, step in enumerate(graph.steps, 1) if step.constant}
        self._carried = self._values(graph)
        self.crossings: dict[tuple[View, bytes], Crossing] = {}
        self._moves = [Move(self._inputs[:0], self._inputs[:0], None)]
        self._moves += [self._move(problem, step) for step in graph.steps]
        self._drop_identities()
        self._ways = self._ways_on()

    def tour(self, number: int) -> tuple[list[WalkStep], list[WalkStep]]:
        """Walk `number` times forward, walkers 0, 2, 4, ..., and back, walkers 1, 3, 5, ...

        The nodes of the input, and of the output, take turns to be the first. Walks that reach a node from
        which nothing goes on are left out.
        """
        turns = self._turn + np.arange(number)
        self._turn += number
        return self._forward(turns), self._backward(turns)

    def _forward(self, turns: Ints) -> list[WalkStep]:
        steps: list[WalkStep] = []
        arrived: list[Ints] = []
        waiting: Arrivals = [[] for _ in self._moves]
        self._arrive(waiting, 2 * np.arange(len(turns)), self._inputs[turns % len(self._inputs)])
        for block in range(len(self._moves)):
            walkers, nodes = _gathered(waiting[block])
            self._carry(block, walkers, nodes, steps)
            ends = self._ends[nodes]
            arrived.append(walkers[ends])
            walkers, nodes = walkers[~ends], nodes[~ends]
            for way, chosen in self._split(block, nodes):
                self._arrive(waiting, *self._ahead(self._moves[way], walkers[chosen], nodes[chosen], steps))
        return _finished(steps, np.concatenate(arrived))

    def _ahead(self, move: Move, walkers: Ints, nodes: Ints, steps: list[WalkStep]) -> tuple[Ints, Ints]:
        places = move.ahead.draw(nodes, self._uniform)
        if move.crossing is not None:
            alive = move.crossing.ahead.totals[places] > 0
            walkers, inputs = walkers[alive], places[alive]
            entries, places = move.crossing.step_ahead(inputs, self._uniform(len(inputs)))
            steps.append(self._step(move.crossing, walkers, entries, inputs, places))
        return walkers, move.targets[places]

    def _backward(self, turns: Ints) -> list[WalkStep]:
        steps: list[WalkStep] = []
        arrived: list[Ints] = []
        waiting: Arrivals = [[] for _ in self._moves]
        self._arrive(waiting, 2 * np.arange(len(turns)) + 1, self._outputs[turns % len(self._outputs)])
        for block in reversed(range(len(self._moves))):
            walkers, nodes = _gathered(waiting[block])
            self._carry(block, walkers, nodes, steps)
            if block:
                walkers, nodes = self._back(self._moves[block], walkers, nodes, steps)
                self._arrive(waiting, walkers, nodes)
            if block in self._constant:
                arrived.append(walkers)
        return _finished(steps, np.concatenate([*arrived, walkers]))

    def _back(self, move: Move, walkers: Ints, nodes: Ints, steps: list[WalkStep]) -> tuple[Ints, Ints]:
        places = move.back.draw(nodes, self._uniform)
        if move.crossing is not None:
            alive = move.crossing.back.totals[places] > 0
            walkers, outputs = walkers[alive], places[alive]
            entries, places = move.crossing.step_back(outputs, self._uniform(len(outputs)))
            steps.append(self._step(move.crossing, walkers, entries, places, outputs))
        return walkers, move.sources[places]

    def _split(self, block: int, nodes: Ints) -> Iterator[tuple[int, Flags]]:
        """Send each walker one of the ways on that its node has, each as likely."""
        ways, reads = self._ways[block]
        here = reads[:, nodes - self._first[block]]
        if len(ways) > 1:
            chosen = (self._uniform(len(nodes)) * here.sum(axis=0)).astype(np.int64)
            here = here & (here.cumsum(axis=0) == chosen + 1)
        yield from zip(ways, here, strict=True)

    def _arrive(self, waiting: Arrivals, walkers: Ints, nodes: Ints) -> None:
        blocks = self._block[nodes]
        for block in np.unique(blocks[blocks >= 0]):
            here = blocks == block
            waiting[block].append((walkers[here], nodes[here]))

    def _step(
        self, crossing: Crossing, walkers: Ints, entries: Ints, inputs: Ints, outputs: Ints
    ) -> WalkStep:
        start = self.starts.get(crossing.name)
        kept = entries[:0] if start is None else entries + start
        return WalkStep(walkers, kept, inputs, outputs, crossing)

    def _carry(self, block: int, walkers: Ints, nodes: Ints, steps: list[WalkStep]) -> None:
        """Take the biases, scales and shifts of the nodes."""
        for entries in self._carried[block]:
            taken = entries[nodes - self._first[block]]
            there = taken >= 0
            steps.append(WalkStep(walkers[there], taken[there], nodes[there], nodes[there]))

    def _uniform(self, number: int) -> Floats:
        drawn = torch.rand(number, generator=self._generator, dtype=torch.float64)
        uniform: Floats = drawn.numpy() * BELOW_ONE
        return uniform

    def _move(self, problem: Problem, step: LayerEdges | Edges) -> Move:
        if isinstance(step, Edges):
            return Move(step.sources.numpy(), step.targets.numpy(), None)
        if step.weight is None or step.weight.name not in dict(problem.model.named_parameters()):
            raise _refusal("the weight of a layer is computed, or is a buffer")
        key = step.weight, b"" if step.active is None else step.active.numpy().tobytes()
        crossing = self.crossings.get(key)
        if crossing is None:
            name = step.weight.name
            weight = problem.dense.get(name, problem.model.get_parameter(name))
            mask = problem.masks.get(name, torch.ones_like(weight, dtype=torch.bool))
            if step.active is not None:
                mask = step.weight.laid_out(mask.cpu()).clone()
                step.weight.of(mask).logical_and_(step.active)
            crossing = self.crossings[key] = Crossing(step.weight, weight, mask)
        return Move(step.inputs.numpy(), step.outputs.numpy(), crossing)

    def _values(self, graph: Graph) -> list[list[Ints]]:
        """For each block, the biases, scales and shifts: tables of the entry of each node, -1 for none."""
        carried: list[list[Ints]] = [[] for _ in self._first[1:]]
        scales = [
            (edges.scale, edges.targets, edges.entries)
            for edges in graph.steps
            if isinstance(edges, Edges) and edges.scale is not None and edges.entries is not None
        ]
        shifts = [(values.values, values.nodes, values.entries) for values in graph.node_values]
        for view, targets, entries in [*scales, *shifts]:
            nodes, start = targets.numpy(), self.starts.get(view.name)
            if start is None or Places(nodes).repeat:
                continue
            numbers = view.of(_entry_numbers(view)).reshape(-1)[entries].numpy() + start
            for block in np.unique(self._block[nodes]):
                here, first, end = self._block[nodes] == block, self._first[block], self._first[block + 1]
                table = np.full(end - first, -1)
                table[nodes[here] - first] = numbers[here]
                carried[block].append(table)
        return carried

    def _parents(self, block: int) -> list[int]:
        """The blocks that the move to `block` reads."""
        blocks = np.unique(self._block[self._moves[block].sources])
        return [int(parent) for parent in blocks if parent >= 0]

    def _drop_identities(self) -> None:
        """Leave out identity shortcuts.

        Two sides of a sum start at their roots: the blocks from which their nodes come without passing
        anything that may be pruned. A side is an identity if the other side has passed its root.
        """
        passed: list[set[int]] = []
        roots: list[int] = []
        moves = list(self._moves)
        for block, move in enumerate(self._moves):
            parents = self._parents(block)
            passed.append({block}.union(*(passed[parent] for parent in parents)))
            plain = move.crossing is None and len(parents) == 1 and not move.back.repeat
            roots.append(roots[parents[0]] if plain and not self._carried[block] else block)
            if move.crossing is None and len(parents) > 1:
                sides = self._block[move.sources]
                into = {parent: move.targets[sides == parent] for parent in parents}
                identities = [
                    one
                    for one in parents
                    if any(
                        roots[one] != roots[other] and roots[one] in passed[other]
                        for other in parents
                        if np.isin(into[one], into[other]).any()
                    )
                ]
                kept = ~np.isin(sides, identities)
                moves[block] = Move(move.sources[kept], move.targets[kept], None)
        self._moves = moves

    def _ways_on(self) -> list[tuple[list[int], Flags]]:
        """By block, the moves on that lead to the output, and flags (moves, nodes) of the nodes they read."""
        ways: list[list[int]] = [[] for _ in self._moves]
        needed = {int(block) for block in self._block[self._outputs]}
        for block in reversed(range(len(self._moves))):
            if block in needed:
                for parent in self._parents(block):
                    needed.add(parent)
                    ways[parent].insert(0, block)
        reads = []
        for block, (first, end) in enumerate(zip(self._first, self._first[1:], strict=False)):
            nodes = np.arange(first, end)
            rows = [np.isin(nodes, self._moves[way].sources) for way in ways[block]]
            reads.append(np.array(rows, dtype=np.bool_).reshape(len(rows), len(nodes)))
        return list(zip(ways, reads, strict=True))


def _traced(problem: Problem) -> Graph:
    graph = trace(problem.model, problem.forward_inputs())
    if isinstance(graph, Untraceable):
        raise _refusal(graph.reason)
    for name in problem.masks:
        if name in graph.opaque:
            raise _refusal(f"{name!r} is used in another way than by layers, scales and shifts")
    return graph


def _refusal(reason: str) -> ModelError:
    return ModelError(f"phew cannot walk through this network: {reason}; choose another pruner")


def _entry_numbers(view: View) -> Tensor:
    """The numbers of the entries of the tensor that `view` sees, in that tensor's memory layout."""
    numbers = torch.empty_strided(view.base_shape, view.base_stride, dtype=torch.int64)
    return numbers.copy_(torch.arange(prod(view.base_shape)).view(view.base_shape))


def _ratio(counts: Floats, totals: Floats) -> Floats:
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def _starts(masks: Masks) -> dict[str, int]:
    """The first entry of each prunable tensor when all are laid out in a row."""
    ends = np.cumsum([mask.numel() for mask in masks.values()])
    return {name: int(end) - masks[name].numel() for name, end in zip(masks, ends, strict=True)}


def _gathered(arrivals: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    if not arrivals:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    walkers, nodes = zip(*arrivals, strict=True)
    return np.concatenate(walkers), np.concatenate(nodes)


def _finished(steps: list[WalkStep], walkers: Ints) -> list[WalkStep]:
    """Return the steps of those `walkers` that reached the end."""
    return [step.of(np.isin(step.walkers, walkers, kind="table")) for step in steps]
