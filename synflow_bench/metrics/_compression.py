"""How small a masked network is: weights, multiply-accumulates, collapsed layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from synflow_bench.metrics.connectivity import Connectivity, NotFollowed, effective_masks
from synflow_bench.records import Layer


@dataclass(frozen=True)
class Size:
    """Sizes of a masked network.

    `compression` is over prunable weights, `compression_all` over all parameters. `theoretical_speedup` is
    dense over kept MACs, None where no MAC is left: masks only simulate sparsity.

    `effective_compression` counts only kept weights on a path of kept weights from input to output; None
    where nothing is, or where `not_followed` says why that is not known. `collapsed_layers` are the layers
    with nothing effectively left; with nothing left where paths are not known.
    """

    layers: tuple[Layer, ...]
    density: float
    compression: float
    compression_all: float
    theoretical_speedup: float | None
    collapsed_layers: tuple[str, ...]
    effective_compression: float | None = None
    not_followed: str | None = None


def measure_size(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    uses: Mapping[str, int],
    connectivity: Connectivity | NotFollowed | None = None,
) -> Size:
    """Measure `model` under `masks`; `uses` is what `uses_of_weights` counted, `connectivity` what `trace`
    found.
    """
    effective, unknown = _effective(masks, connectivity)
    layers = tuple(_layer(name, mask, uses.get(name, 0), effective.get(name)) for name, mask in masks.items())
    size, kept = sum(layer.size for layer in layers), sum(layer.kept for layer in layers)
    on_paths = sum(effective.values())
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
        collapsed_layers=tuple(layer.name for layer in layers if _has_collapsed(layer, connectivity)),
        effective_compression=size / on_paths if on_paths else None,
        not_followed=unknown,
    )


def _effective(
    masks: Mapping[str, Tensor], connectivity: Connectivity | NotFollowed | None
) -> tuple[Mapping[str, int], str | None]:
    """The number of effective weights by name, or why it is not known."""
    if connectivity is None:
        return {}, "the network was not traced"
    if isinstance(connectivity, NotFollowed):
        return {}, connectivity.reason
    if hidden := sorted(connectivity.opaque & masks.keys()):
        return {}, f"cannot follow {hidden[0]!r}: it is not used as it is, but to compute with"
    left = effective_masks(connectivity, masks)
    return {name: int(mask.count_nonzero()) for name, mask in left.items()}, None


def _has_collapsed(layer: Layer, connectivity: Connectivity | NotFollowed | None) -> bool:
    if layer.effective_kept is None or not isinstance(connectivity, Connectivity):
        return not layer.kept
    # What the network never uses is on no path from the start: nothing has collapsed.
    return not layer.effective_kept and (layer.name in connectivity.names or not layer.kept)


def _layer(name: str, mask: Tensor, uses: int, effective: int | None) -> Layer:
    size, kept = mask.numel(), int(mask.count_nonzero())
    shape = tuple(mask.shape)
    return Layer(name=name, shape=shape, size=size, kept=kept, effective_kept=effective, macs=size * uses)
