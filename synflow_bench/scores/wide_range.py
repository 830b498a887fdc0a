"""Forward passes whose numbers may be as large or small as they like: each tensor has an exponent of its own.

A deep network multiplies a signal by a factor per layer, and the product soon leaves the range of float64.
`WideTensor` keeps a tensor as mantissa * 2 ** exponent, the mantissa in float64 near one. Linear operations,
rectifiers, pooling and sums are computed exactly so; other operations get plain numbers, as far as float64
can hold them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import frexp, log2
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_any, tree_map

_LOWEST = -(2**60)
"""The exponent of zero, below all others."""

_NORMAL = 64
"""The binary orders of magnitude within which a mantissa is left as it is."""

_HOMOGENEOUS_NAMES = """
    relu leaky_relu max_pool2d_with_indices max_pool3d_with_indices avg_pool1d avg_pool2d avg_pool3d
    _adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d mean sum view _unsafe_view reshape permute
    transpose t expand slice select clone constant_pad_nd squeeze unsqueeze detach alias neg abs
    upsample_nearest2d upsample_bilinear2d index index_select split split_with_sizes unbind roll repeat
    flip _reshape_alias unfold im2col lift_fresh max amax _prelu_kernel
"""

_HOMOGENEOUS = frozenset(_HOMOGENEOUS_NAMES.split())
"""Operations f with f(2x) = 2 f(x), for a first argument that is the only wide one."""

_PRODUCTS = frozenset({"mul", "mm", "bmm", "dot", "mv"})
_SUMS = {"add": 1.0, "sub": -1.0}
_BATCH_NORMS = frozenset(
    {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "miopen_batch_norm"}
)


class WideTensor(Tensor):
    """A tensor with the values mantissa * 2 ** exponent.

    Attributes:
        mantissa: A float64 tensor.
        exponent: A whole number; one for all tensors of the same memory, such as views.

    Example:
        >>> x = WideTensor.of(torch.full((2,), 1e200, dtype=torch.float64))
        >>> with torch.no_grad():
        ...     for _ in range(9):
        ...         x = x * 1e200
        >>> round(log2_of_sum(x) / log2(10), 6)  # log10 of 2 * 10^2000
        2000.30103
    """

    mantissa: Tensor
    _exponent: list[int]
    """One number; the list is that of all tensors of the same memory."""

    @staticmethod
    def __new__(cls, mantissa: Tensor, exponent: int = 0) -> WideTensor:
        """Make a tensor without storage of its own."""
        wrapped: WideTensor = torch.Tensor._make_wrapper_subclass(
            cls, mantissa.shape, strides=mantissa.stride(), dtype=mantissa.dtype, device=mantissa.device
        )
        return wrapped

    def __init__(self, mantissa: Tensor, exponent: int = 0) -> None:
        self.mantissa, self._exponent = mantissa, [exponent]

    @property
    def exponent(self) -> int:
        """The exponent of two."""
        return self._exponent[0]

    @classmethod
    def of(cls, mantissa: Tensor, exponent: int = 0) -> WideTensor:
        """Make a tensor whose largest mantissa is near one."""
        largest = float(mantissa.abs().max()) if mantissa.numel() else 0.0
        if largest == 0.0:
            return cls(mantissa, _LOWEST)
        if largest in (float("inf"), float("nan")) or largest != largest:
            return cls(mantissa, exponent)
        _, order = frexp(largest)
        if abs(order) > _NORMAL:
            mantissa, exponent = mantissa * 2.0**-order, exponent + order
        return cls(mantissa, exponent)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"WideTensor({self.mantissa!r} * 2 ** {self.exponent})"

    def plain(self) -> Tensor:
        """Return the values as float64; those beyond its range become infinite or zero."""
        if self.exponent > 2000:
            return self.mantissa * float("inf")
        half = max(self.exponent, -2200) // 2
        return self.mantissa * 2.0**half * 2.0 ** (max(self.exponent, -2200) - half)

    def at(self, exponent: int) -> Tensor:
        """Return the mantissa for another exponent, no less than the present one."""
        return (
            self.mantissa
            if exponent == self.exponent
            else self.mantissa * 2.0 ** max(self.exponent - exponent, -2000)
        )

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Compute one operation of torch."""
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name.endswith("_") and not name.endswith("__") and isinstance(args[0], WideTensor):
            functional = getattr(getattr(torch.ops.aten, name[:-1]), func._overloadname)
            args[0]._become(cls.__torch_dispatch__(functional, types, args, kwargs))
            return args[0]
        if "out" in kwargs:
            raise NotImplementedError(f"{name} writes into another tensor")
        return _computed(name, func, list(args), kwargs)

    def _become(self, result: WideTensor) -> None:
        """Take the values of the result of an operation in place, for all tensors of the same memory."""
        if result.shape != self.shape:
            raise NotImplementedError("an operation in place changes a shape")
        exponent = max(self.exponent, result.exponent)
        if exponent != self.exponent:
            memory = torch.empty(0, dtype=torch.float64).set_(self.mantissa.untyped_storage())
            memory.mul_(2.0 ** max(self.exponent - exponent, -2000))
            self._exponent[0] = exponent
        self.mantissa.copy_(result.at(exponent))


def log2_of_sum(tensor: Tensor) -> float:
    """Return log2 of the sum of all entries; -inf for zero, nan for a negative sum."""
    wide = _wide(tensor)
    total = float(wide.mantissa.sum())
    if total > 0:
        return log2(total) + wide.exponent if total != float("inf") else total
    return -float("inf") if total == 0 else float("nan")


def _wide(value: Any) -> WideTensor:
    if isinstance(value, WideTensor):
        return value
    tensor = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return WideTensor.of(tensor.double())


def _computed(name: str, func: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
    first: Any = args[0] if args else None
    only_first = isinstance(first, WideTensor) and not _has_wide((args[1:], kwargs))
    if name == "_to_copy" and isinstance(first, WideTensor):
        return WideTensor(first.mantissa.clone(), first.exponent)
    if name in _HOMOGENEOUS and only_first:
        return _wrapped(func(first.mantissa, *args[1:], **kwargs), first.exponent, first)
    if name in _PRODUCTS or (name == "div" and len(args) == 2 and not kwargs):
        return _product(func, *args, sign=-1 if name == "div" else 1)
    if name in _SUMS and all(isinstance(each, Tensor | float | int) for each in args):
        return _sum(args[0], args[1], _SUMS[name] * kwargs.get("alpha", 1))
    if name in {"addmm", "baddbmm"} and not kwargs:
        return _sum(
            _product(torch.ops.aten.mm if name == "addmm" else torch.ops.aten.bmm, *args[1:]), first, 1
        )
    if name == "convolution" and only_first:
        return _convolution(func, args)
    if name in _BATCH_NORMS and only_first and not _trains(name, args):
        return _batch_norm(args)
    if name in {"cat", "stack"}:
        parts = [_wide(each) for each in args[0]]
        exponent = max(part.exponent for part in parts)
        return _wrapped(func([part.at(exponent) for part in parts], *args[1:], **kwargs), exponent)
    plain_args, plain_kwargs = tree_map(_plain, (args, kwargs))
    return _wrapped(func(*plain_args, **plain_kwargs), 0)


def _plain(value: Any) -> Any:
    return value.plain() if isinstance(value, WideTensor) else value


def _has_wide(values: Any) -> bool:
    return tree_any(lambda value: isinstance(value, WideTensor), values)


def _wrapped(results: Any, exponent: int, source: WideTensor | None = None) -> Any:
    """Wrap the results of an operation; those that are views of `source` share its memory."""
    memory = None if source is None else source.mantissa.untyped_storage().data_ptr()

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        if source is None or value.untyped_storage().data_ptr() != memory:
            return WideTensor.of(value, exponent)
        view = WideTensor(value)
        view._exponent = source._exponent
        return view

    return tree_map(wrap, results)


def _product(func: Callable[..., Any], one: Any, other: Any, *, sign: int = 1) -> WideTensor:
    if isinstance(one, WideTensor) and not isinstance(other, Tensor):
        return WideTensor.of(func(one.mantissa, other), one.exponent)
    a, b = (each if isinstance(each, WideTensor) else _wide(each) for each in (one, other))
    return WideTensor.of(func(a.mantissa, b.mantissa), a.exponent + sign * b.exponent)


def _sum(one: Any, other: Any, factor: float) -> WideTensor:
    a, b = _wide(one), _wide(other)
    exponent = max(a.exponent, b.exponent)
    return WideTensor.of(a.at(exponent) + factor * b.at(exponent), exponent)


def _convolution(func: Any, args: list[Any]) -> WideTensor:
    inputs, weight, bias, *rest = args
    result = WideTensor.of(func(inputs.mantissa, weight, None, *rest), inputs.exponent)
    return result if bias is None else _sum(result, bias.view(-1, *[1] * (weight.dim() - 2)), 1)


def _trains(name: str, args: list[Any]) -> bool:
    return name != "_native_batch_norm_legit_no_training" and bool(args[5])


def _batch_norm(args: list[Any]) -> tuple[WideTensor, Tensor, Tensor]:
    inputs, weight, bias, mean, variance = args[:5]
    factor = (variance + args[-1]).rsqrt()
    factor = factor if weight is None else factor * weight
    shift = -mean * factor if bias is None else bias - mean * factor
    shape = (-1, *[1] * (inputs.dim() - 2))
    scaled = WideTensor.of(inputs.mantissa * factor.view(shape), inputs.exponent)
    return _sum(scaled, shift.view(shape), 1), mean.new_empty(0), mean.new_empty(0)
