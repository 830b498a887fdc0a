"""The entries of one weight tensor as steps between units, drawn by their size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class Rows:
    """Draws a column of a row with the probabilities `shares` (rows, columns), which need not sum to one."""

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
        """A column for each of `rows`, none of which may be without shares."""
        found: Ints = np.searchsorted(self._ends, rows + uniform, side="right")
        columns: Ints = found - rows * self.columns
        return columns


class Crossing:
    """The entries of one weight tensor, seen from its input units and from its output units.

    A unit's shares are |w| among what may be kept; all the same where that is all zero.
    """

    def __init__(self, weight: Tensor, mask: Tensor, groups: int, *, transposed: bool) -> None:
        outer, inner = weight.shape[:2]
        self.shape = (groups, outer // groups, inner, weight[0, 0].numel())
        self._order = (0, 2, 1, 3) if transposed else (0, 1, 2, 3)  # to group, output, input, kernel
        places = np.arange(weight.numel()).reshape(self.shape).transpose(self._order)
        self._allowed: Flags = _array(mask).astype(np.bool_).reshape(-1)
        self.sizes: Floats = _array(weight.detach().double().abs()).reshape(-1) * self._allowed
        _, outputs, inputs, kernel = places.shape
        self._starts: Ints = places[:, :, :, 0]
        self.kernel, self.outputs, self.inputs = kernel, outputs, inputs
        self.ahead = self._rows(places.transpose(0, 2, 1, 3).reshape(groups * inputs, -1))
        self.back = self._rows(places.reshape(groups * outputs, -1))
        self._visits_ahead = np.zeros(groups * inputs)
        self._visits_back = np.zeros(groups * outputs)
        self._seen_inputs = np.zeros(groups * inputs, dtype=np.bool_)
        self._seen_outputs = np.zeros(groups * outputs, dtype=np.bool_)

    def _rows(self, places: Ints) -> Rows:
        shares = self.sizes[places]
        empty = ~shares.any(axis=1)
        shares[empty] = self._allowed[places[empty]]
        return Rows(shares)

    def forth(self, units: Ints, uniform: Floats) -> tuple[Ints, Ints]:
        """Entries drawn from what leaves the input `units`, and the output units they lead to."""
        column = self.ahead.draw(units, uniform)
        group, unit = units // self.inputs, units % self.inputs
        output, position = column // self.kernel, column % self.kernel
        return self._starts[group, output, unit] + position, group * self.outputs + output

    def back_from(self, units: Ints, uniform: Floats) -> tuple[Ints, Ints]:
        """Entries drawn from what enters the output `units`, and the input units they come from."""
        column = self.back.draw(units, uniform)
        group, output = units // self.outputs, units % self.outputs
        unit, position = column // self.kernel, column % self.kernel
        return self._starts[group, output, unit] + position, group * self.inputs + unit

    def remember(self, inputs: Ints, outputs: Ints, *, forward: bool) -> None:
        """Count visits by walks that went from `inputs` to `outputs`, or the other way."""
        counts, units = (self._visits_ahead, inputs) if forward else (self._visits_back, outputs)
        counts += np.bincount(units, minlength=len(counts))
        self._seen_inputs[inputs] = True
        self._seen_outputs[outputs] = True

    def pull(self) -> Floats:
        """How many visits each entry (size,) was to expect so far; 0 where a unit at its ends had none."""
        ahead = _ratio(self._visits_ahead, self.ahead.totals) * self._seen_inputs
        back = _ratio(self._visits_back, self.back.totals) * self._seen_outputs
        groups = self.shape[0]
        ahead, back = ahead.reshape(groups, 1, -1, 1), back.reshape(groups, -1, 1, 1)
        seen = self._seen_inputs.reshape(ahead.shape) & self._seen_outputs.reshape(back.shape)
        factors = np.broadcast_to((ahead + back) * seen, (groups, self.outputs, self.inputs, self.kernel))
        inverse: Floats = np.ascontiguousarray(factors.transpose(self._order)).reshape(-1)
        return inverse * self.sizes


def _ratio(counts: Floats, totals: Floats) -> Floats:
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def _array(tensor: Tensor) -> NDArray[Any]:
    return tensor.cpu().numpy()
