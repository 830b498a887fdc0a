"""Convolutions of one image with many equal windows, each of which is computed once.

An image of ones stays constant inside through every layer of a convolutional network; only its border
differs, one pixel wider with every 3x3 kernel. The gradient of a sum is constant in the same way from the
other end. The windows of a kernel are therefore equal in many places, and one of them stands for all: in the
forward pass and, by the chain rule, in the backward pass. The different windows are few; laid out as the rows
of a matrix, they take part in one matrix product with the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

Ints = np.ndarray[Any, np.dtype[np.intp]]
Starts = tuple[int, ...]
"""The indices at which runs of equal lines start, zero first."""

WORTH = 1 << 23
"""The number of products of a convolution from which the search for equal windows saves time."""

MANY = 1024
"""The number of different windows above which torch's own convolutions are as fast, without a matrix."""


class RepeatingImages(TorchFunctionMode):
    """A context in which `torch.conv2d` of one image on a CPU computes equal windows once.

    Convolutions in groups, of several images, with few products, or with many different windows are left to
    torch.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace the convolutions that get faster."""
        if function is torch.conv2d and not kwargs and (convolved := _convolve(*args)) is not None:
            return convolved
        return function(*args, **(kwargs or {}))


class _Axis(NamedTuple):
    """One dimension of a convolution: the sizes of image and kernel, and the moves of the kernel."""

    size: int
    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def windows(self) -> int:
        """The number of windows."""
        return (self.size + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1


def _convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor | None:
    """Return the convolution, or None for one that is better left to torch."""
    single = image.dim() == 4 and len(image) == 1 and image.device.type == "cpu"
    fitting = weight.shape[1] == image.shape[1] and weight.dtype is image.dtype
    if not single or groups != 1 or not fitting or isinstance(padding, str):
        return None
    moves = (_pair(stride), _pair(padding), _pair(dilation))
    rows, columns = (_Axis(*sizes) for sizes in zip(image.shape[2:], weight.shape[2:], *moves, strict=True))
    windows = max(0, rows.windows) * max(0, columns.windows)
    if windows == 0 or windows * weight.numel() < WORTH:
        return None
    cover = _cover(rows, columns, *_runs(_pixels(image.detach())))
    if len(cover.taps) > MANY:
        return None
    convolved: Tensor = _Convolution.apply(image, weight, cover, (rows.windows, columns.windows))
    return convolved if bias is None else convolved + bias[:, None, None]


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


@dataclass(frozen=True, eq=False)
class _Cover:
    """The part of an image with runs of equal rows and columns that the windows (h, w) of a kernel cover.

    Attributes:
        pixels: (n,) int64, the pixels, counted row by row, that stand for all.
        taps: (m, h * w) int64, for each of the m different windows the entries of `pixels` that it covers; n
            for padding.
        window: (H' * W',) int64, for every window its equal among the m; None where all differ.
    """

    pixels: Tensor
    taps: Tensor
    window: Tensor | None


@lru_cache(maxsize=256)
def _cover(rows: _Axis, columns: _Axis, row_starts: Starts, column_starts: Starts) -> _Cover:
    """Return the cover of the windows that move along `rows` and `columns` where runs start as given."""
    (row_taps, row), (column_taps, column) = _distinct(rows, row_starts), _distinct(columns, column_starts)
    padding, width = len(row_starts) * len(column_starts), len(column_starts)
    above, beside = row_taps[:, None, :, None], column_taps[None, :, None, :]
    taps = np.where((above < 0) | (beside < 0), padding, above * width + beside)
    window = _crossings(row, column, len(column_taps))
    taps = taps.reshape(len(row_taps) * len(column_taps), -1)
    return _Cover(
        pixels=_crossings(np.asarray(row_starts), np.asarray(column_starts), columns.size),
        taps=torch.from_numpy(taps),
        window=window if len(taps) < len(window) else None,
    )


def _distinct(axis: _Axis, starts: Starts) -> tuple[Ints, Ints]:
    """Return the runs that the different windows of an axis cover (-1: padding), and each window's equal."""
    first_line = axis.stride * np.arange(axis.windows) - axis.padding
    line = first_line[:, None] + axis.dilation * np.arange(axis.kernel)
    taps = np.where((line >= 0) & (line < axis.size), _labels(starts, line), -1)
    first = _starts(taps)
    return taps[list(first)], _labels(first, np.arange(len(taps)))


def _labels(starts: Starts, lines: Ints) -> Ints:
    """Return the runs that contain `lines`."""
    return np.searchsorted(np.asarray(starts), lines, side="right") - 1


def _crossings(rows: Ints, columns: Ints, width: int) -> Tensor:
    """Return the crossings of `rows` and `columns`, counted row by row in rows of `width`."""
    return torch.from_numpy((rows[:, None] * width + columns).reshape(-1))


def _starts(lines: np.ndarray[Any, Any]) -> Starts:
    """Return the starts of runs of equal lines (n, ...)."""
    flat = lines.reshape(len(lines), -1)
    changes = (flat[1:] != flat[:-1]).any(axis=1)
    return (0, *(1 + np.flatnonzero(changes)).tolist())


def _runs(pixels: Tensor) -> tuple[Starts, Starts]:
    """Return the starts of runs of equal rows and of equal columns of an image (H, W, C)."""
    values = pixels.numpy()
    rows = _starts(values)
    return rows, _starts(values[list(rows)].swapaxes(0, 1))


class _Convolution(torch.autograd.Function):
    """y (1, O, H', W') of an image (1, C, H, W) and a weight (O, C, h, w)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, cover: _Cover, grid: tuple[int, int]) -> Tensor:
        """Multiply the different windows by the weights; `grid` is (H', W')."""
        pixels = _pixels(image)
        windows = _windows(pixels, cover)
        outputs = multiply_by_columns(windows, _matrix(weight).t())
        if cover.window is not None:
            outputs = outputs.index_select(0, cover.window)
        ctx.save_for_backward(windows, weight)
        ctx.cover, ctx.sizes = cover, pixels.shape
        return _image(outputs, *grid)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Multiply the different gradients, each summed over equal windows or equal to others itself."""
        windows, weight = ctx.saved_tensors
        cover: _Cover = ctx.cover
        outer, same = _pixels(gradient), None
        if cover.window is not None:
            outer = _summed(outer.flatten(0, 1), cover.window, len(windows))
        else:
            outer, same = _differing(outer)
        inner = windows if same is None else _summed(windows, same, len(outer))
        weights = _kernels(multiply_by_rows(outer.t(), inner), weight) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, weights, None, None
        spread = multiply_by_columns(outer, _matrix(weight))
        if same is not None:
            spread = spread.index_select(0, same)
        height, width, channels = ctx.sizes
        seen = _summed(spread.view(-1, channels), cover.taps.reshape(-1), len(cover.pixels) + 1)[:-1]
        image = seen.new_zeros(height * width, channels).index_copy_(0, cover.pixels, seen)
        return _image(image, height, width), weights, None, None


def _windows(pixels: Tensor, cover: _Cover) -> Tensor:
    """Return the different windows of an image (H, W, C), as rows (m, h * w * C)."""
    seen = pixels.flatten(0, 1).index_select(0, cover.pixels)
    padded = torch.cat([seen, seen.new_zeros(1, seen.shape[1])])
    return padded.index_select(0, cover.taps.reshape(-1)).view(len(cover.taps), -1)


def _differing(pixels: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the different pixels (n, C) of an image (H, W, C), and for each pixel (H * W,) its equal."""
    height, width, _ = pixels.shape
    rows, columns = _runs(pixels)
    every = pixels.flatten(0, 1)
    if len(rows) * len(columns) == height * width:
        return every, None
    first = _crossings(np.asarray(rows), np.asarray(columns), width)
    row, column = _labels(rows, np.arange(height)), _labels(columns, np.arange(width))
    return every.index_select(0, first), _crossings(row, column, len(columns))


def _summed(rows: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return the sums (count, m) of `rows` (n, m) by their `groups` (n,)."""
    return rows.new_zeros(count, rows.shape[1]).index_add_(0, groups, rows)


def multiply_by_columns(few: Tensor, wide: Tensor) -> Tensor:
    """Multiply `few` (m, n) by `wide` (n, k), with a share of the columns for every thread.

    A linear-algebra library may otherwise compute a product with few rows on one thread.
    """
    shares = gcd(wide.shape[1], torch.get_num_threads())
    parts = wide.view(wide.shape[0], shares, -1).transpose(0, 1)
    return torch.bmm(few.expand(shares, *few.shape), parts).transpose(0, 1).flatten(1)


def multiply_by_rows(wide: Tensor, few: Tensor) -> Tensor:
    """Multiply `wide` (n, m) by `few` (m, k), with a share of the rows for every thread."""
    shares = gcd(wide.shape[0], torch.get_num_threads())
    parts = wide.view(shares, -1, wide.shape[1])
    return torch.bmm(parts, few.expand(shares, *few.shape)).flatten(0, 1)


def _matrix(weight: Tensor) -> Tensor:
    """Return a weight (O, C, h, w) as a matrix (O, h * w * C)."""
    return weight.permute(0, 2, 3, 1).flatten(1)


def _kernels(matrix: Tensor, weight: Tensor) -> Tensor:
    """Invert `_matrix`, for a weight of the shape of `weight`."""
    outputs, inputs, *kernel = weight.shape
    return matrix.view(outputs, *kernel, inputs).permute(0, 3, 1, 2)


def _pixels(image: Tensor) -> Tensor:
    """Return an image (1, C, H, W) as (H, W, C), contiguous."""
    return image[0].permute(1, 2, 0).contiguous()


def _image(pixels: Tensor, height: int, width: int) -> Tensor:
    """Return pixels (H * W, C) as an image (1, C, H, W)."""
    return pixels.view(1, height, width, -1).permute(0, 3, 1, 2)
