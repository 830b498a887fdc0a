"""How small a masked network is: weights, multiply-accumulates, collapsed layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from synflow_bench.records import Layer


@dataclass(frozen=True)
class Size:
    """Sizes of a masked network.

    `compression` is over prunable weights, `compression_all` over all parameters. `theoretical_speedup` is
    dense over kept MACs, None where no MAC is left: masks only simulate sparsity.
    """

    layers: tuple[Layer, ...]
    density: float
    compression: float
    compression_all: float
    theoretical_speedup: float | None
    collapsed_layers: tuple[str, ...]


def measure_size(model: nn.Module, masks: Mapping[str, Tensor], uses: Mapping[str, int]) -> Size:
    """Measure `model` under `masks`; `uses` is what `uses_of_weights` counted."""
    layers = tuple(_layer(name, mask, uses.get(name, 0)) for name, mask in masks.items())
    size, kept = sum(layer.size for layer in layers), sum(layer.kept for layer in layers)
    parameters = dict(model.named_parameters())
    total = sum(parameter.numel() for parameter in parameters.values())
    dense_macs = sum(count * parameters[name].numel() for name, count in uses.items())
    kept_macs = dense_macs - sum((layer.size - layer.kept) * uses.get(layer.name, 0) for layer in layers)
    return Size(
        layers=layers,
        density=kept / size,
        compression=size / kept,
        compression_all=total / (total - size + kept),
        theoretical_speedup=dense_macs / kept_macs if kept_macs else None,
        collapsed_layers=tuple(layer.name for layer in layers if not layer.kept),
    )


def _layer(name: str, mask: Tensor, uses: int) -> Layer:
    size, kept = mask.numel(), int(mask.count_nonzero())
    return Layer(name=name, shape=tuple(mask.shape), size=size, kept=kept, macs=size * uses)
