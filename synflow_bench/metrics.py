"""The size of a masked network: its weights, multiply-accumulates (MACs) and collapsed layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from synflow_bench.graph import Graph, Untraceable, effective_masks, in_mode
from synflow_bench.records import Layer


@dataclass(frozen=True)
class Size:
    """The size of a masked network.

    Attributes:
        layers: The prunable tensors, in their order.
        density: Kept over prunable weights.
        compression: Prunable over kept weights.
        compression_all: The parameters of the dense network over those of the masked one.
        theoretical_speedup: MACs of the dense over those of the masked network; None where no MAC is left.
            Masks only simulate sparsity: no network runs faster by them.
        collapsed_layers: The layers without effective weights, or without kept weights where effective ones
            are not known.
        effective_compression: Prunable over effective weights: those on a path of kept weights from input to
            output. None where there are none, or where `not_followed` says why they are not known.
        not_followed: The reason why effective weights are not known, one line.
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
    graph: Graph | Untraceable | None = None,
) -> Size:
    """Measure `model` under `masks`.

    Args:
        model: The network.
        masks: Bool tensors by parameter name, True for kept weights; at least one weight must be kept.
        uses: The number of uses of each weight tensor, from `uses_of_weights`.
        graph: The outcome of `trace`; without it, effective weights are not known.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from synflow_bench.graph import trace
        >>> model, example = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1)), torch.ones(1, 4)
        >>> masks = {"0.weight": torch.ones(2, 4).bool(), "1.weight": torch.tensor([[True, False]])}
        >>> size = measure_size(model, masks, uses_of_weights(model, example)[0], trace(model, example))
        >>> (size.compression, size.effective_compression)
        (1.1111111111111112, 2.0)
    """
    effective: dict[str, int] = {}
    unknown = None
    if graph is None:
        unknown = "the network was not traced"
    elif isinstance(graph, Untraceable):
        unknown = graph.reason
    elif hidden := sorted(graph.opaque & masks.keys()):
        unknown = f"cannot follow {hidden[0]!r}: it is not used as it is, but to compute with"
    else:
        effective = {name: int(m.count_nonzero()) for name, m in effective_masks(graph, masks).items()}
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
        collapsed_layers=tuple(layer.name for layer in layers if _has_collapsed(layer, graph)),
        effective_compression=size / on_paths if on_paths else None,
        not_followed=unknown,
    )


def _layer(name: str, mask: Tensor, uses: int, effective: int | None) -> Layer:
    size, kept, shape = mask.numel(), int(mask.count_nonzero()), tuple(mask.shape)
    return Layer(name=name, shape=shape, size=size, kept=kept, effective_kept=effective, macs=size * uses)


def _has_collapsed(layer: Layer, graph: Graph | Untraceable | None) -> bool:
    if layer.effective_kept is None or not isinstance(graph, Graph):
        return not layer.kept
    # A layer that the network never uses was on no path to begin with: it has not collapsed.
    return not layer.effective_kept and (layer.name in graph.names or not layer.kept)


def uses_of_weights(model: nn.Module, example: Tensor) -> tuple[dict[str, int], Tensor]:
    """Count the uses of every weight tensor in one forward pass in eval mode.

    An entry of a convolution's weight is used once per output position, one of a linear layer once per row of
    its input; the MACs of a tensor are its uses times its (kept) entries. A tensor that several modules share
    counts under the name of the first.

    Args:
        model: The network; it is left as it is.
        example: An input (1, ...).

    Returns:
        The uses by parameter name, and the output for the example.
    """
    uses: dict[str, int] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with torch.no_grad(), in_mode(model, training=False):
        handles = [
            module.register_forward_hook(_counter(uses, names[id(module.weight)]), with_kwargs=True)
            for module in model.modules()
            if isinstance(module, nn.Linear | _ConvNd) and id(module.weight) in names
        ]
        try:
            output: Tensor = model(example)
        finally:
            for handle in handles:
                handle.remove()
    return uses, output


def _counter(uses: dict[str, int], name: str) -> Any:
    def hook(module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        if isinstance(module, nn.Linear):
            positions = output[..., 0]
        else:
            # A transposed convolution spreads every input position; others gather for every output position.
            gathered = (*inputs, *named.values())[0] if isinstance(module, _ConvTransposeNd) else output
            positions = gathered[:, 0]
        uses[name] = uses.get(name, 0) + positions.numel()

    return hook
