"""Groups of weights of which some are kept: `n:m` patterns, and constant fan-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from synflow_bench.errors import UsageError
from synflow_bench.pruning.groups import Groups, Scores
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.selection import Selection, apportion, keep_largest, kept_count, select
from synflow_bench.pruning.units import UnitMatrix
from synflow_bench.suites import PATTERN_TOLERANCE, Scope


@dataclass(frozen=True)
class FanIn(Groups):
    """Constant fan-in: every unit of a layer keeps the same number of incoming weights.

    Attributes:
        matrices: The tensors that have units.
    """

    matrices: Mapping[str, UnitMatrix]

    def select(
        self, scores: Scores, masks: Masks, density: float, scope: Scope, *, invert: bool
    ) -> Selection:
        """Keep in every layer about as many weights as without units, equally many of every unit.

        The numbers per unit are rounded so that their sum comes nearest to round(density * N). Units without
        any weight in `masks` stay without.
        """
        ranked = {n: -scores[n] if invert else scores[n] for n in self.matrices}
        there = Masks({name: masks[name] for name in self.matrices})
        wanted = kept_count(density, masks.size) - self.always_kept(masks)
        wanted = min(max(1, wanted), there.kept)
        shares = select(ranked, there, wanted / there.size, scope).masks.layer_kept
        rows = {n: (m.of(ranked[n]).flatten(1), m.of(masks[n]).flatten(1)) for n, m in self.matrices.items()}
        room = {name: eligible.sum(1) for name, (_, eligible) in rows.items()}
        units = {name: int((number > 0).sum()) for name, number in room.items()}
        most = {name: int(number[number > 0].min()) if units[name] else 0 for name, number in room.items()}
        numbers = _equal_numbers(shares, units, most, wanted)
        kept = {
            name: matrix.back(largest_of_rows(*rows[name], numbers.get(name, 0)))
            for name, matrix in self.matrices.items()
        }
        return Selection(Masks({n: kept.get(n, mask) for n, mask in masks.items()}), _least(ranked, kept))

    def fault(self, masks: Masks, before: Masks, density: float) -> str | None:
        """Return in a few words which layer has units with different numbers of weights."""
        largest = 0
        for name, matrix in self.matrices.items():
            numbers = matrix.of(masks[name]).flatten(1).sum(1)[matrix.of(before[name]).flatten(1).any(1)]
            if len(numbers) and int(numbers.min()) < int(numbers.max()):
                return f"of layer {name!r} from {numbers.min()} to {numbers.max()} weights per unit"
            largest = max(largest, len(numbers))
        off = abs(masks.kept - kept_count(density, masks.size))
        return f"{masks.kept} of {masks.size} weights" if off > largest else None

    def shuffled(self, masks: Masks, generator: torch.Generator) -> Masks:
        """Permute the incoming weights of every unit."""
        return _permuted(masks, self.matrices, generator, self._rows, lambda matrix, rows: matrix.back(rows))

    def _rows(self, matrix: Tensor) -> Tensor:
        """Return the incoming weights of every unit as a row."""
        return matrix.flatten(1)


def _equal_numbers(
    shares: Mapping[str, int], units: Mapping[str, int], most: Mapping[str, int], wanted: int
) -> dict[str, int]:
    """Round shares per unit to whole numbers, so that their sum over all units comes near `wanted`.

    They are rounded down, but where anything is left to at least 1, since an empty layer would end all paths.
    Then the number that is too small by most grows by 1, again and again, while that brings the sum nearer;
    or the one that is too large by most falls. Layers are emptied only where all numbers are 1.
    """
    per_unit = {name: share / units[name] for name, share in shares.items() if units[name]}
    numbers = {n: min(max(int(share), int(share > 0)), most[n]) for n, share in per_unit.items()}
    total = sum(numbers[name] * units[name] for name in numbers)
    sign = 1 if total < wanted else -1
    while True:
        if sign > 0:
            able = [name for name in numbers if numbers[name] < min(most[name], per_unit[name])]
        else:
            able = [n for n in numbers if numbers[n] > 1] or [n for n in numbers if numbers[n]]
        name = max(able, key=lambda name: sign * (per_unit[name] - numbers[name]), default=None)
        if name is None or abs(total + sign * units[name] - wanted) >= abs(total - wanted):
            return numbers
        if total + sign * units[name] < 1:
            return numbers
        numbers[name], total = numbers[name] + sign, total + sign * units[name]


@dataclass(frozen=True)
class Patterns(Groups):
    """`n:m`: n of every m weights that follow each other along the inputs, in every unit and at every tap.

    At densities above n / m, as in the rounds of iterative pruning, every m keep at least their n largest.

    Attributes:
        matrices: The tensors whose inputs are a multiple of m.
        n: The number that is kept of every m.
        m: The number of weights of a group.
    """

    matrices: Mapping[str, UnitMatrix]
    n: int
    m: int

    def check_density(self, density: float, masks: Masks) -> None:  # noqa: ARG002 - known without them
        """Check that the pattern leaves so few weights.

        Raises:
            UsageError: It keeps more.
        """
        if density < self.n / self.m * (1 - PATTERN_TOLERANCE):
            raise UsageError(
                f"granularity {self.granularity!r} keeps {self.n} of every {self.m} weights, which is "
                f"compression {self.m / self.n:.12g}, not {1 / density:g}"
            )

    def select(
        self, scores: Scores, masks: Masks, density: float, scope: Scope, *, invert: bool
    ) -> Selection:
        """Keep n of every m weights, and at a larger density the largest of the others."""
        ranked = {n: -scores[n] if invert else scores[n] for n in self.matrices}
        kept = {}
        for name, matrix in self.matrices.items():
            rows, eligible = self._rows(matrix.of(ranked[name])), self._rows(matrix.of(masks[name]))
            kept[name] = self._back(matrix, largest_of_rows(rows, eligible, self.n))
        if density > self.n / self.m * (1 + PATTERN_TOLERANCE):
            wanted = kept_count(density, masks.size) - self.always_kept(masks)
            self._add_others(kept, ranked, masks, wanted, scope)
        return Selection(Masks({n: kept.get(n, mask) for n, mask in masks.items()}), _least(ranked, kept))

    def _add_others(
        self, kept: dict[str, Tensor], ranked: Scores, masks: Masks, wanted: int, scope: Scope
    ) -> None:
        """Add the largest of the weights that no group needs, up to `wanted` in all."""
        others = {name: (masks[name] & ~mask).reshape(-1) for name, mask in kept.items()}
        left = {name: int(mask.sum()) for name, mask in others.items()}
        fixed = {name: int(mask.sum()) for name, mask in kept.items()}
        missing = min(max(0, wanted - sum(fixed.values())), sum(left.values()))
        rows = {name: ranked[name].detach().reshape(-1) for name in kept}
        if scope == "global":
            chosen, _ = keep_largest(list(rows.values()), list(others.values()), missing)
        else:
            sizes = {name: mask.numel() for name, mask in kept.items()}
            shares = apportion(sizes, max(wanted, 1) / sum(sizes.values()))
            numbers = {name: min(max(0, shares[name] - fixed[name]), left[name]) for name in kept}
            chosen = [keep_largest([rows[n]], [others[n]], numbers[n])[0][0] for n in kept]
        for name, more in zip(list(kept), chosen, strict=True):
            kept[name] = kept[name] | more.view(kept[name].shape)

    def fault(self, masks: Masks, before: Masks, density: float) -> str | None:
        """Return in a few words which layer has other numbers in a group."""
        exact = density <= self.n / self.m * (1 + PATTERN_TOLERANCE)
        for name, matrix in self.matrices.items():
            numbers = self._rows(matrix.of(masks[name])).sum(1)
            least = self._rows(matrix.of(before[name])).sum(1).clamp(max=self.n)
            if bool((numbers < least).any()) or (exact and bool((numbers > least).any())):
                return f"of layer {name!r} from {numbers.min()} to {numbers.max()} of every {self.m} weights"
        return None

    def shuffled(self, masks: Masks, generator: torch.Generator) -> Masks:
        """Permute the weights of every group."""
        return _permuted(masks, self.matrices, generator, self._rows, self._back)

    def _rows(self, matrix: Tensor) -> Tensor:
        """Return the groups of a matrix (units, inputs, taps) as rows of m."""
        units, _, taps = matrix.shape
        return matrix.reshape(units, -1, self.m, taps).transpose(2, 3).flatten(0, 2)

    def _back(self, matrix: UnitMatrix, rows: Tensor) -> Tensor:
        """Invert `_rows`, and return the tensor."""
        units, inputs, taps = matrix.of(torch.empty(matrix.shape, device="meta")).shape
        parts = rows.view(units, inputs // self.m, taps, self.m)
        return matrix.back(parts.transpose(2, 3).reshape(units, inputs, taps))


def largest_of_rows(rows: Tensor, eligible: Tensor, number: int) -> Tensor:
    """Keep the `number` largest eligible entries of every row, those that come first among equals.

    Example:
        >>> largest_of_rows(torch.tensor([[1.0, 3.0, 3.0, 2.0]]), torch.ones(1, 4).bool(), 1)
        tensor([[False,  True, False, False]])
    """
    if number <= 0:
        return torch.zeros_like(eligible)
    columns = rows.shape[1]
    if number >= columns:
        return eligible
    rows = rows.detach().masked_fill(~eligible, -inf)
    least = rows.kthvalue(columns - number + 1, dim=1, keepdim=True).values
    above = rows > least
    equal = (rows == least) & eligible
    return above | (equal & (equal.cumsum(1) <= number - above.sum(1, keepdim=True)))


def _least(scores: Scores, kept: Mapping[str, Tensor]) -> float:
    """Return the smallest score of a kept weight."""
    least = (float(scores[name].detach()[mask].min()) for name, mask in kept.items() if mask.any())
    return min(least, default=inf)


def _permuted(
    masks: Masks,
    matrices: Mapping[str, UnitMatrix],
    generator: torch.Generator,
    to_rows: Callable[[Tensor], Tensor],
    back: Callable[[UnitMatrix, Tensor], Tensor],
) -> Masks:
    """Return masks whose rows are permuted at random, each by itself."""
    changed = {}
    for name, matrix in matrices.items():
        rows = to_rows(matrix.of(masks[name]))
        order = torch.rand(rows.shape, generator=generator).argsort(1).to(rows.device)
        changed[name] = back(matrix, rows.gather(1, order))
    return Masks({name: changed.get(name, mask) for name, mask in masks.items()})
