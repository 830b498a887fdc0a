"""Operations on images of which only the different pixels are kept, and their derivatives.

An image of ones stays constant inside a convolutional network, and its border grows by a pixel with every 3x3
kernel. The derivatives of the sum of the outputs behave in the same way from the other end. Which pixels are
equal follows from the sizes of the layers alone, whatever the weights are. An image is therefore a matrix
with a row for all pixels that are equal, or for all whose derivatives are, whichever are fewer rows; a
convolution is one matrix product, and a mean a weighted sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from synflow_bench_pruners.repeating import Axis, Starts, cover_of, labels, starts_of

Runs = tuple[Starts, Starts]
"""The starts of runs of equal rows, and of equal columns."""

POINT: Runs = ((0,), (0,))
"""The runs of an image whose pixels are all equal."""


class Image:
    """An image as a matrix with a row for every group of pixels.

    If `sums` is False, pixels of a group are equal: a row of `values` is that of each of them, and one of
    `gradients` the sum of their derivatives. Otherwise their derivatives are equal: a row of `values` is the
    sum of the pixels, and one of `gradients` the derivative by each of them.

    Attributes:
        size: Height and width.
        channels: The number of channels, C.
        equal: The runs of equal pixels.
        alike: The runs of pixels with equal derivatives, known after `look_back` of all that read the image.
        sums: True if the groups are the latter.
        values: (n + 1, C): n rows, and zeros that stand for padding.
        gradients: (n + 1, C): the derivatives of the total.
    """

    def __init__(self, size: tuple[int, int], channels: int, equal: Runs) -> None:
        self.size, self.channels, self.equal = size, channels, equal
        self.alike, self.sums, self._may_sum = POINT, False, True
        self.values = self.gradients = torch.empty(0)

    def is_read(self, alike: Runs, *, summed: bool) -> None:
        """Note the runs of derivatives that come from an operation, and if its result has sums."""
        self.alike = union(self.alike, alike)
        self._may_sum &= summed

    def settle(self) -> None:
        """Choose the groups, after all that read the image are known."""
        self.sums = self._may_sum and (_crossings(self.alike) < _crossings(self.equal) or self.size == (1, 1))

    @property
    def groups(self) -> Runs:
        """The runs by which pixels are grouped."""
        return self.alike if self.sums else self.equal

    def allocate(self, dtype: torch.dtype) -> None:
        """Make the matrices."""
        rows = _crossings(self.groups) + 1
        self.values, self.gradients = (torch.zeros(rows, self.channels, dtype=dtype) for _ in range(2))

    @property
    def pixels(self) -> Tensor:
        """The number of pixels in every group, (n, 1)."""
        rows, columns = (np.diff([*runs, end]) for runs, end in zip(self.groups, self.size, strict=True))
        return torch.from_numpy(np.outer(rows, columns)).view(-1, 1).to(self.values)

    @property
    def shares(self) -> Tensor:
        """The factors by which the rows of values add up to the sum of all pixels, (n, 1)."""
        return torch.ones_like(self.pixels) if self.sums else self.pixels


def union(one: Runs, other: Runs) -> Runs:
    """Return the runs in which both are constant."""
    rows, columns = (tuple(sorted({*a, *b})) for a, b in zip(one, other, strict=True))
    return rows, columns


def _crossings(runs: Runs) -> int:
    return len(runs[0]) * len(runs[1])


class Links:
    """The moves of rows of one image to the windows of another.

    Args:
        axes: The two dimensions of the convolution.
        source: The image that is read.
        result: The image with a window per pixel.
    """

    def __init__(self, axes: Sequence[Axis], source: Image, result: Image) -> None:
        pairs = zip(axes, source.groups, result.groups, strict=True)
        rows, columns = (_links(*each, sources=source.sums, results=result.sums) for each in pairs)
        window, tap, line, times = (
            np.meshgrid(a, b, indexing="ij") for a, b in zip(rows, columns, strict=True)
        )
        padding, height, width = _crossings(source.groups), axes[0].kernel, axes[1].kernel
        places = (window[0] * len(result.groups[1]) + window[1]) * height * width + tap[0] * width + tap[1]
        lines = line[0] * len(source.groups[1]) + line[1]
        moved = np.where((line[0] < 0) | (line[1] < 0), padding, lines)
        order = np.argsort(places, axis=None, kind="stable")
        self._from = torch.from_numpy(moved.reshape(-1)[order])
        self._to = torch.from_numpy(places.reshape(-1)[order])
        self._times = torch.from_numpy((times[0] * times[1]).reshape(-1, 1)[order]).to(source.values)
        self._once = bool((self._times == 1).all())
        self._places = _crossings(result.groups) * height * width
        self._one_each = self._once and torch.equal(self._to, torch.arange(self._places))
        self.are_trivial = self._one_each and torch.equal(self._from, torch.arange(padding))

    def empty(self, source: Image) -> Tensor:
        """Return memory for the windows (m * h * w, C); that of the image where they are its rows."""
        if self.are_trivial:
            return source.values[:-1]
        return source.values.new_empty(self._places, source.channels)

    def gather(self, source: Image, windows: Tensor) -> None:
        """Write the windows."""
        if self.are_trivial:
            return
        if self._one_each:
            torch.index_select(source.values, 0, self._from, out=windows)
        else:
            windows.zero_().index_add_(
                0, self._to, self._multiplied(source.values.index_select(0, self._from))
            )

    def spread(self, source: Image, windows: Tensor) -> None:
        """Add the derivatives by the windows to those by the image."""
        moved = windows if self._one_each else self._multiplied(windows.index_select(0, self._to))
        source.gradients.index_add_(0, self._from, moved)

    def _multiplied(self, rows: Tensor) -> Tensor:
        return rows if self._once else rows.mul_(self._times)


Ints = np.ndarray[Any, np.dtype[np.intp]]


def _links(
    axis: Axis, source: Starts, result: Starts, *, sources: bool, results: bool
) -> tuple[Ints, Ints, Ints, Ints]:
    """Return links along one axis.

    Args:
        axis: The dimension.
        source: The groups of lines.
        result: The groups of windows.
        sources: True if the lines of a group are summed.
        results: True if the windows of a group are summed.

    Returns:
        For every link the group of windows, the tap, the group of lines (-1: padding), and the number of
        equal links.
    """
    windows = np.arange(axis.windows) if results else np.asarray(result)
    line = axis.stride * windows[:, None] - axis.padding + axis.dilation * np.arange(axis.kernel)
    inside = (line >= 0) & (line < axis.size)
    # A sum of lines is linked once, through the first of them; a sum of windows needs no padding.
    chosen = np.isin(line, source) if sources else inside if results else np.ones_like(inside)
    window, tap = np.nonzero(chosen)
    lines = np.where(inside, labels(source, line), -1)[chosen]
    shape = len(result), axis.kernel, len(source) + 1
    found = np.ravel_multi_index((labels(result, windows)[window], tap, lines + 1), shape)
    links, times = np.unique(found, return_counts=True)
    group, tap, line = np.unravel_index(links, shape)
    return group, tap, line - 1, times


class Operation(Protocol):
    """An operation that reads images and writes one."""

    def look_back(self) -> None:
        """Choose the groups of the result, and say which derivatives of the sources are equal."""

    def allocate(self) -> None:
        """Prepare for the groups of all images."""

    def forward(self) -> None:
        """Compute the result."""

    def backward(self) -> None:
        """Add to the gradients of what was read, and set those of the weights."""


class Product:
    """A convolution or a linear layer, without bias: windows (m, K) of the image times weights (O, K).

    Args:
        source: The image.
        axes: The two dimensions of the convolution.
        channels: The number of outputs, O.
        first: True if no derivatives by the pixels are needed.
    """

    def __init__(self, source: Image, axes: tuple[Axis, Axis], channels: int, *, first: bool = False) -> None:
        self._source, self._axes, self._first = source, axes, first
        equal = cover_of(*axes, *source.equal).starts
        self.result = Image((axes[0].windows, axes[1].windows), channels, equal)

    def look_back(self) -> None:
        """Compare the derivatives by the lines of the image through all taps."""
        self.result.settle()
        rows, columns = (_alike(*each) for each in zip(self._axes, self.result.alike, strict=True))
        self._source.is_read((rows, columns), summed=self.result.sums)

    def allocate(self) -> None:
        """Find the windows."""
        self._links = Links(self._axes, self._source, self.result)
        gathered = self._links.empty(self._source)
        spread = self._source.gradients[:-1] if self._links.are_trivial else torch.empty_like(gathered)
        self._pixels, self._slopes = self.result.values[:-1], self.result.gradients[:-1]
        self._gathered, self._windows = gathered, gathered.view(len(self._pixels), -1)
        self._spread, self._spread_windows = spread, spread.view(len(self._pixels), -1)

    def bind(self, weights: Tensor, gradients: Tensor) -> None:
        """Read the weights (O * K,) from one tensor, and write their gradients to another."""
        outputs = self.result.channels
        self._weights, self._weight_slopes = weights.view(outputs, -1), gradients.view(outputs, -1)

    def forward(self) -> None:
        """Gather the windows, and multiply them by the weights."""
        self._links.gather(self._source, self._gathered)
        torch.mm(self._windows, self._weights.t(), out=self._pixels)

    def backward(self) -> None:
        """Multiply the gradients by windows and weights, and add up those of every pixel."""
        torch.mm(self._slopes.t(), self._windows, out=self._weight_slopes)
        if self._first:
            return
        if self._links.are_trivial:
            self._spread_windows.addmm_(self._slopes, self._weights)
        else:
            torch.mm(self._slopes, self._weights, out=self._spread_windows)
            self._links.spread(self._source, self._spread)


def _alike(axis: Axis, result: Starts) -> Starts:
    """Return the runs of lines that meet equal derivatives at every tap."""
    met = np.full((axis.size, axis.kernel), -1)
    windows = np.arange(axis.windows)
    for tap in range(axis.kernel):
        line = axis.stride * windows - axis.padding + axis.dilation * tap
        inside = (line >= 0) & (line < axis.size)
        met[line[inside], tap] = labels(result, windows[inside])
    return starts_of(met)


class Shift:
    """A constant (C,) that is added to every pixel of an image, in place."""

    def __init__(self, image: Image, constant: Tensor) -> None:
        self._image, self._constant = image, constant

    def look_back(self) -> None:
        """Leave the groups."""

    def allocate(self) -> None:
        """Multiply by the number of pixels in a sum."""
        self._shift = self._constant * self._image.pixels if self._image.sums else self._constant

    def forward(self) -> None:
        """Add the constant."""
        self._image.values[:-1].add_(self._shift)

    def backward(self) -> None:
        """Leave the gradients, which stay the same."""


class Sum:
    """The sum of two images of one size."""

    def __init__(self, one: Image, other: Image) -> None:
        self._terms = one, other
        self.result = Image(one.size, one.channels, union(one.equal, other.equal))

    def look_back(self) -> None:
        """Give both terms the runs of the result."""
        self.result.settle()
        for term in self._terms:
            term.is_read(self.result.alike, summed=self.result.sums)

    def allocate(self) -> None:
        """Find the groups of both in the result."""
        axes = [Axis(size, kernel=1, stride=1, padding=0, dilation=1) for size in self.result.size]
        links = [Links(axes, term, self.result) for term in self._terms]
        self._moves = [(term, link, link.empty(term)) for term, link in zip(self._terms, links, strict=True)]

    def forward(self) -> None:
        """Add both."""
        for term, links, moved in self._moves:
            links.gather(term, moved)
        torch.add(self._moves[0][2], self._moves[1][2], out=self.result.values[:-1])

    def backward(self) -> None:
        """Give the gradient to both."""
        slopes = self.result.gradients[:-1]
        for term, links, _ in self._moves:
            if links.are_trivial:
                term.gradients[:-1].add_(slopes)
            else:
                links.spread(term, slopes)


class Mean:
    """The mean of all pixels of an image."""

    def __init__(self, source: Image) -> None:
        self._source = source
        self.result = Image((1, 1), source.channels, POINT)

    def look_back(self) -> None:
        """Note that all derivatives are equal."""
        self.result.settle()
        self._source.is_read(POINT, summed=True)

    def allocate(self) -> None:
        """Count the pixels."""
        height, width = self._source.size
        self._shares = self._source.shares / (height * width)

    def forward(self) -> None:
        """Add the rows, each by its share of the image."""
        torch.mm(self._shares.t(), self._source.values[:-1], out=self.result.values[:-1])

    def backward(self) -> None:
        """Give every row its share of the gradient."""
        self._source.gradients[:-1].addmm_(self._shares, self.result.gradients[:-1])


def prepare(operations: Sequence[Operation], images: Sequence[Image], dtype: torch.dtype) -> None:
    """Choose the groups of all images, and allocate memory, after all operations are known."""
    for operation in reversed(operations):
        operation.look_back()
    for image in images:
        image.allocate(dtype)
    for operation in operations:
        operation.allocate()
