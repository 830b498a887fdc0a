"""Convolutions of one image with many equal windows, each of which is computed once.

An image of ones stays constant inside through every layer of a convolutional network; only its border
differs, one pixel wider with every 3x3 kernel. The gradient of a sum is constant in the same way from the
other end. The windows of a kernel are therefore equal in many places, and one of them stands for all: in the
forward pass and, by the chain rule, in the backward pass. The different windows are few; laid out as the rows
of a matrix, they take part in one matrix product with the weights.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import gcd
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.overrides import TorchFunctionMode

Ints = np.ndarray[Any, np.dtype[np.intp]]
Starts = tuple[int, ...]
"""The indices at which runs of equal lines start, zero first."""

WORTH = 1 << 23
"""The number of products of a convolution from which the search for equal windows saves time."""

MANY = 1024
"""The number of different windows above which torch's own convolutions are as fast, without a matrix."""

NEAR = 1e-9
"""The relative difference of sums in float64 below which the weights that were summed may be equal."""


class RepeatingImages(TorchFunctionMode):
    """A context in which `torch.conv2d` of one image on a CPU computes equal windows once.

    The gradient of equal pixels is given to the first of them: right for all that treats equal pixels alike,
    as convolutions, pooling and functions of each pixel do, and not for the image itself, nor where equal
    pixels come from different weights: see `has_equal_weights`.

    The result is a new tensor in the memory layout that torch would give it, and can be differentiated twice.
    Left to torch are convolutions in groups, of several images, with few products, with many different
    windows, of other types than float32 and float64, and those inside a compiler, a checkpoint, autocast,
    `torch.func` or forward-mode differentiation.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Replace the convolutions that get faster."""
        if function is torch.conv2d and not kwargs and not torch.compiler.is_compiling():
            convolved = _convolve(*args)
            if convolved is not None:
                return convolved
        return function(*args, **(kwargs or {}))


@torch.no_grad()
def has_equal_weights(weights: Iterable[Tensor]) -> bool:
    """Return True if equal pixels may come from different weights: from equal ones, which are not zero.

    A transposed convolution whose kernel has equal columns makes such pixels, as do the outputs of a linear
    layer or the channels of a convolution that are laid out as an image, and layers side by side.

    Args:
        weights: The weights of layers; only those on a CPU that have two dimensions or more are looked at.
    """
    matrices = [weight for weight in weights if weight.dim() > 1 and weight.device.type == "cpu"]
    twins = (a for a, b in combinations(matrices, 2) if a.shape == b.shape and torch.equal(a, b))
    return any(bool(weight.any()) for weight in twins) or any(
        _has_equal_slices(weight, d)
        for weight in matrices
        for d in range(weight.dim())
        if d != 1 or weight.dim() > 2  # each output of a linear layer reads all of its inputs
    )


def _has_equal_slices(weight: Tensor, dimension: int) -> bool:
    """Return True if two slices along a dimension are equal and not zero."""
    others = [d for d in range(weight.dim()) if d != dimension]
    sums, order = weight.abs().sum(others, dtype=torch.float64).sort()
    near = (sums.diff() <= NEAR * sums[1:]) & (sums[1:] > 0)
    return any(
        torch.equal(weight.select(dimension, int(order[i])), weight.select(dimension, int(order[i + 1])))
        for i in near.nonzero().flatten().tolist()
    )


class Axis(NamedTuple):
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
    image: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: Any = 1,
    *_: Any,
) -> Tensor | None:
    """Return the convolution, or None for one that is better left to torch, as are all wrong arguments."""
    steps, borders, gaps = _pair(stride, 1), _pair(padding, 0), _pair(dilation, 1)
    if steps is None or borders is None or gaps is None or groups != 1:
        return None
    if not _fit(image, weight, bias) or _is_transformed():
        return None
    sizes = zip(image.shape[2:], weight.shape[2:], steps, borders, gaps, strict=True)
    rows, columns = (Axis(*each) for each in sizes)
    windows = max(0, rows.windows) * max(0, columns.windows)
    if windows == 0 or windows * weight.numel() < WORTH:
        return None
    cover = cover_of(rows, columns, *_runs(_pixels(image.detach())))
    if len(cover.taps) > MANY:
        return None
    convolved: Tensor = _Convolution.apply(image, weight, cover, (rows, columns))
    return convolved if bias is None else convolved + bias[:, None, None]


def _pair(value: Any, least: int) -> tuple[int, int] | None:
    """Return an integer or a pair of them as a pair; None for all else, and for less than `least`."""
    values = (value,) if isinstance(value, int) else value
    if not isinstance(values, tuple | list) or len(values) not in {1, 2}:
        return None
    first, last = values[0], values[-1]
    fits = isinstance(first, int) and isinstance(last, int) and min(first, last) >= least
    return (first, last) if fits else None


def _fit(image: Any, weight: Any, bias: Any) -> bool:
    """Return True for one image and a kernel of plain numbers in memory whose shapes and types agree."""
    tensors = [image, weight] if bias is None else [image, weight, bias]
    plain = all(
        type(tensor) in {Tensor, nn.Parameter}
        and tensor.layout is torch.strided
        and tensor.device.type == "cpu"
        and tensor.dtype in {torch.float32, torch.float64}
        and tensor.dtype is image.dtype
        for tensor in tensors
    )
    return (
        plain
        and image.dim() == weight.dim() == 4
        and len(image) == 1
        and weight.shape[1] == image.shape[1] > 0
        and (bias is None or bias.shape == weight.shape[:1])
    )


def _is_transformed() -> bool:
    """Return True where a tensor stands for more than its values, or is computed again for a checkpoint."""
    functional: bool = torch._C._are_functorch_transforms_active()
    saved_otherwise = torch._C._autograd._top_saved_tensors_default_hooks(True) is not None
    return functional or saved_otherwise or torch.is_autocast_enabled("cpu") or forward_ad._current_level >= 0


@dataclass(frozen=True, eq=False)
class Cover:
    """The part of an image with runs of equal rows and columns that the windows (h, w) of a kernel cover.

    Attributes:
        pixels: (n,) int64, the pixels, counted row by row, that stand for all.
        taps: (m, h * w) int64, for each of the m different windows the entries of `pixels` that it covers; n
            for padding.
        window: (H' * W',) int64, for every window its equal among the m; None where all differ.
        starts: The starts of runs of equal rows and of equal columns of windows.
    """

    pixels: Tensor
    taps: Tensor
    window: Tensor | None
    starts: tuple[Starts, Starts]


@lru_cache(maxsize=256)
def cover_of(rows: Axis, columns: Axis, row_starts: Starts, column_starts: Starts) -> Cover:
    """Return the cover of the windows that move along `rows` and `columns` where runs start as given."""
    row_taps, row_windows = _distinct(rows, row_starts)
    column_taps, column_windows = _distinct(columns, column_starts)
    row, column = (
        labels(row_windows, np.arange(rows.windows)),
        labels(column_windows, np.arange(columns.windows)),
    )
    padding, width = len(row_starts) * len(column_starts), len(column_starts)
    above, beside = row_taps[:, None, :, None], column_taps[None, :, None, :]
    taps = np.where((above < 0) | (beside < 0), padding, above * width + beside)
    window = _crossings(row, column, len(column_taps))
    taps = taps.reshape(len(row_taps) * len(column_taps), -1)
    return Cover(
        pixels=_crossings(np.asarray(row_starts), np.asarray(column_starts), columns.size),
        taps=torch.from_numpy(taps),
        window=window if len(taps) < len(window) else None,
        starts=(row_windows, column_windows),
    )


def _distinct(axis: Axis, starts: Starts) -> tuple[Ints, Starts]:
    """Return the runs that the different windows of an axis cover (-1: padding), and where these start."""
    first_line = axis.stride * np.arange(axis.windows) - axis.padding
    line = first_line[:, None] + axis.dilation * np.arange(axis.kernel)
    taps = np.where((line >= 0) & (line < axis.size), labels(starts, line), -1)
    first = starts_of(taps)
    return taps[list(first)], first


def labels(starts: Starts, lines: Ints) -> Ints:
    """Return the runs that contain `lines`."""
    return np.searchsorted(np.asarray(starts), lines, side="right") - 1


def _crossings(rows: Ints, columns: Ints, width: int) -> Tensor:
    """Return the crossings of `rows` and `columns`, counted row by row in rows of `width`."""
    return torch.from_numpy((rows[:, None] * width + columns).reshape(-1))


def starts_of(lines: np.ndarray[Any, Any]) -> Starts:
    """Return the starts of runs of equal lines (n, ...)."""
    flat = lines.reshape(len(lines), -1)
    changes = (flat[1:] != flat[:-1]).any(axis=1)
    return (0, *(1 + np.flatnonzero(changes)).tolist())


def _runs(pixels: Tensor) -> tuple[Starts, Starts]:
    """Return the starts of runs of equal rows and of equal columns of an image (H, W, C)."""
    values = pixels.numpy()
    rows = starts_of(values)
    return rows, starts_of(values[list(rows)].swapaxes(0, 1))


class _Convolution(torch.autograd.Function):
    """y (1, O, H', W') of an image (1, C, H, W) and a weight (O, C, h, w)."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, cover: Cover, axes: tuple[Axis, Axis]) -> Tensor:
        """Multiply the different windows by the weights; a caller may write into the result."""
        windows = _windows(_pixels(image), cover)
        outputs = multiply_by_columns(windows, _matrix(weight).t())
        ctx.save_for_backward(image, weight, windows)
        ctx.cover, ctx.axes = cover, axes
        shape = (1, len(weight), axes[0].windows, axes[1].windows)
        convolved = torch.empty(shape, dtype=image.dtype, memory_format=_layout(image, weight))
        pixels = convolved[0].permute(1, 2, 0)
        if not pixels.is_contiguous():
            equal = outputs if cover.window is None else outputs.index_select(0, cover.window)
            pixels.copy_(equal.view(pixels.shape))
        elif cover.window is None:
            pixels.copy_(outputs.view(pixels.shape))
        else:
            torch.index_select(outputs, 0, cover.window, out=pixels.view(-1, len(weight)))
        return convolved

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Multiply the different gradients, each summed over equal windows or equal to others itself."""
        image, weight, windows = ctx.saved_tensors
        if torch.is_grad_enabled():  # for a second derivative
            return *_plain_backward(ctx, gradient, image, weight), None, None
        cover: Cover = ctx.cover
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
        channels, height, width = image.shape[1:]
        seen = _summed(spread.view(-1, channels), cover.taps.reshape(-1), len(cover.pixels) + 1)[:-1]
        pixels = seen.new_zeros(height * width, channels).index_copy_(0, cover.pixels, seen)
        return _image(pixels, height, width), weights, None, None


def _plain_backward(
    ctx: Any, gradient: Tensor, image: Tensor, weight: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Return the gradients of torch's own convolution, which have derivatives themselves."""
    strides, paddings, dilations = (
        [getattr(axis, move) for axis in ctx.axes] for move in ("stride", "padding", "dilation")
    )
    wanted = [*ctx.needs_input_grad[:2], False]
    images, weights, _ = torch.ops.aten.convolution_backward(
        gradient, image, weight, None, strides, paddings, dilations, False, [0, 0], 1, wanted
    )
    return images, weights


def _layout(image: Tensor, weight: Tensor) -> torch.memory_format:
    """Return the memory layout that torch gives a convolution: channels last if one of both has it."""
    if any(_has_channels_last(tensor) for tensor in (image, weight)):
        return torch.channels_last
    return torch.contiguous_format


def _has_channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _windows(pixels: Tensor, cover: Cover) -> Tensor:
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
    row, column = labels(rows, np.arange(height)), labels(columns, np.arange(width))
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
