"""`phew`, which makes many walks at once and draws the rest by itself, against one walk after the other."""

from __future__ import annotations

from bisect import bisect
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from random import Random

import torch
from torch import Tensor, nn

from synflow_bench.pruning import Problem
from synflow_bench_pruners.phew import Phew

Pose = Callable[..., Problem]
Entry = tuple[int, int, int, int]
"""Layer, output, input and place in the kernel."""
SEEDS = 200
DENSITY = 0.8
SIGMAS = 5


class Walks:
    """The paper's: the next unit with P ~ L1 norm of the kernel, then the entry of the kernel with P ~ |w|.

    `sizes` are |w| (outputs, inputs, kernel) of each layer.
    """

    def __init__(self, sizes: Sequence[Tensor], seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  no secret
        self._ahead = [size.sum(2).cumsum(0).T.tolist() for size in sizes]
        self._back = [size.sum(2).cumsum(1).tolist() for size in sizes]
        self._kernels = [size.cumsum(2).tolist() for size in sizes]

    def steps(self) -> Iterator[Entry]:
        """Forth and back in turn; units of the input and of the output take turns to be the first."""
        for turn in count():
            yield from self._forth(turn % len(self._ahead[0]))
            yield from self._back_from(turn % len(self._back[-1]))

    def _forth(self, unit: int) -> Iterator[Entry]:
        for layer, norms in enumerate(self._ahead):
            output = self._drawn(norms[unit])
            yield layer, output, unit, self._drawn(self._kernels[layer][output][unit])
            unit = output

    def _back_from(self, unit: int) -> Iterator[Entry]:
        for layer in reversed(range(len(self._back))):
            source = self._drawn(self._back[layer][unit])
            yield layer, unit, source, self._drawn(self._kernels[layer][unit][source])
            unit = source

    def _drawn(self, sums: Sequence[float]) -> int:
        return bisect(sums, self._random.random() * sums[-1], hi=len(sums) - 1)


def one_by_one(sizes: Sequence[Tensor], k: int, seed: int) -> Tensor:
    """Walk until `k` entries are kept."""
    masks = [torch.zeros(size.shape, dtype=torch.bool) for size in sizes]
    kept: set[Entry] = set()
    for entry in Walks(sizes, seed).steps():
        kept.add(entry)
        if len(kept) == k:
            break
    for layer, *place in kept:
        masks[layer][tuple(place)] = True
    return in_a_row(masks)


def in_a_row(masks: Sequence[Tensor]) -> Tensor:
    return torch.cat([mask.flatten() for mask in masks]).double()


def network() -> nn.Module:
    """720 weights, with units from small to large, so that some are found late."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.linspace(-1, 1, 30).exp()
    kernels = torch.randn(30, 6, 1, 2, generator=generator) * scales.view(-1, 1, 1, 1)
    head = torch.randn(12, 30, generator=generator) * scales
    layers = {"conv": nn.Conv2d(6, 30, (1, 2)), "flat": nn.Flatten(), "head": nn.Linear(30, 12)}
    model = nn.Sequential(OrderedDict(layers))
    model.load_state_dict({"conv.weight": kernels, "head.weight": head}, strict=False)
    return model


def assert_alike(ours: Tensor, theirs: Tensor) -> None:
    """The means of both samples (seeds, numbers) differ by less than `SIGMAS` standard errors."""
    variance = (ours.var(0) + theirs.var(0)) / SEEDS + 1 / SEEDS**2
    assert ((ours.mean(0) - theirs.mean(0)).abs() < SIGMAS * variance.sqrt()).all()


def test_each_entry_is_kept_as_often_as_by_walks_one_by_one(pose: Pose) -> None:
    """Entry by entry, and all entries of about one size together; both ways keep 576 of 720."""
    model = network()
    posed = [pose(model, (6, 1, 2), seed=seed) for seed in range(SEEDS)]
    ours = torch.stack([in_a_row(list(Phew().prune(each, DENSITY).values())) for each in posed])
    sizes = [weight.detach().double().abs() for weight in posed[0].parameters.values()]
    sizes = [size.reshape(*size.shape[:2], -1) for size in sizes]
    theirs = torch.stack([one_by_one(sizes, 576, seed) for seed in range(SEEDS)])
    assert ours.sum(1).unique().tolist() == theirs.sum(1).unique().tolist() == [576]
    assert_alike(ours, theirs)
    for alike in in_a_row(sizes).argsort().chunk(5):
        assert_alike(ours[:, alike].sum(1, keepdim=True), theirs[:, alike].sum(1, keepdim=True))
