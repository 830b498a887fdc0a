"""The size of a masked network: its weights, multiply-accumulates (MACs) and collapsed layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils.rnn import PackedSequence

from synflow_bench.graph import Graph, Untraceable, effective_masks, in_mode, plain_attention, reachable
from synflow_bench.pruning.prunable import (
    ATTENTION,
    LINEAR,
    RECURRENT,
    dense_in_use,
    keeps_zeros,
    left_out,
    original_names,
    tensors_of,
)
from synflow_bench.records import Layer

Uses = Mapping[str, int | Tensor]
"""The uses of each entry of a weight tensor, by name: a number, or integers that broadcast to its shape."""


@dataclass(frozen=True)
class Size:
    """The size of a masked network.

    Attributes:
        layers: The prunable tensors, in their order.
        density: Kept over prunable weights.
        compression: Prunable over kept weights.
        compression_all: The parameters of the dense network over those of the masked one.
        theoretical_speedup: MACs of the dense over those of the masked network; None where no path is left.
            Only weights on a path from input to output count, in both networks; all (kept) weights do where
            `not_followed` says why paths are not known. Masks only simulate sparsity: no network runs faster
            by them.
        collapsed_layers: The layers without effective weights, or without kept weights where effective ones
            are not known.
        macs: The MACs of one example by the masked network, as the speedup counts them; 0 without a path.
        dense_macs: The same of the dense network.
        effective_compression: Prunable over effective weights: those on a path of kept weights from input to
            output. None where there are none, or where `not_followed` says why they are not known.
        not_followed: The reason why effective weights are not known, one line.
        left_out: The names of the weights that are not prunable.
    """

    layers: tuple[Layer, ...]
    density: float
    compression: float
    compression_all: float
    theoretical_speedup: float | None
    collapsed_layers: tuple[str, ...]
    macs: int
    dense_macs: int
    effective_compression: float | None = None
    not_followed: str | None = None
    left_out: tuple[str, ...] = ()


def measure_size(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    uses: Uses,
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
    parameters = dict(model.named_parameters())
    unknown = _unknown(graph, masks)
    dense, left = (_acting(model, kept, uses, graph, masks) for kept in ({}, masks))
    effective = {name: None if unknown else int(left[name].count_nonzero()) for name in masks}
    layers = tuple(_layer(name, mask, uses, effective[name]) for name, mask in masks.items())
    size, kept = sum(layer.size for layer in layers), sum(layer.kept for layer in layers)
    on_a_path = sum(filter(None, effective.values()))
    total = sum(parameter.numel() for parameter in parameters.values())
    has_path = bool(unknown or on_a_path) or _joins(graph, left)
    whole_macs, kept_macs = count_macs(model, uses, dense), count_macs(model, uses, left)
    return Size(
        layers=layers,
        density=kept / size,
        compression=size / kept,
        compression_all=total / (total - size + kept),
        theoretical_speedup=whole_macs / kept_macs if kept_macs and has_path else None,
        collapsed_layers=tuple(layer.name for layer in layers if _has_collapsed(layer, graph)),
        macs=kept_macs if has_path else 0,
        dense_macs=whole_macs,
        effective_compression=size / on_a_path if on_a_path else None,
        not_followed=unknown,
        left_out=left_out(model, masks),
    )


def dense_macs(
    model: nn.Module, masks: Mapping[str, Tensor], uses: Uses, graph: Graph | Untraceable | None = None
) -> dict[str, int]:
    """Count the multiply-accumulates of one example by each weight tensor of the dense network.

    Their sum is the `dense_macs` of `measure_size`.

    Args:
        model: The network.
        masks: The tensors that are pruned, by name; what they keep has no effect.
        uses: The number of uses of each weight tensor, from `uses_of_weights`.
        graph: The outcome of `trace`.
    """
    acting = _acting(model, {}, uses, graph, masks)
    return {name: count_macs(model, {name: count}, acting) for name, count in uses.items()}


def _acting(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    uses: Uses,
    graph: Graph | Untraceable | None,
    pruned: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the entries that can act under `masks`, or all kept ones where paths of `pruned` are unknown."""
    parameters = dict(model.named_parameters())
    dense = {name: torch.ones_like(parameters[name], dtype=torch.bool) for name in uses if name in parameters}
    left = {**dense, **masks}
    if isinstance(graph, Graph) and _unknown(graph, pruned) is None:
        followed = pruned.keys() | (graph.names - graph.opaque)
        left |= effective_masks(graph, {name: left[name] for name in followed & left.keys()})
    return left | _whole(model, pruned)


def _whole(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return masks of all entries for weights whose layers multiply with others, which keep no zeros."""
    return {name: torch.ones_like(masks[name]) for name in dense_in_use(model, masks)}


def _unknown(graph: Graph | Untraceable | None, masks: Mapping[str, Tensor]) -> str | None:
    """Return the reason why the paths that `masks` leave are not known, if they are not."""
    if graph is None:
        return "the network was not traced"
    if isinstance(graph, Untraceable):
        return graph.reason
    if hidden := sorted(graph.opaque & masks.keys()):
        return f"cannot follow {hidden[0]!r}: it is not used as it is, but to compute with"
    return None


def _joins(graph: Graph | Untraceable | None, masks: Mapping[str, Tensor]) -> bool:
    """Return True if a path leads from input to output, past all weights that can be pruned."""
    return isinstance(graph, Graph) and bool(reachable(graph, masks).from_input[graph.outputs].any())


def count_macs(model: nn.Module, uses: Uses, masks: Mapping[str, Tensor]) -> int:
    """Count the multiply-accumulates of one example: the uses of the entries that masks keep.

    Of a tensor without a mask, all entries count.
    """
    return sum(
        _sum_uses(count, masks[name], mask=True)
        if name in masks
        else _sum_uses(count, _tensor_at(model, name))
        for name, count in uses.items()
    )


def _layer(name: str, mask: Tensor, uses: Uses, effective: int | None) -> Layer:
    size, kept, shape = mask.numel(), int(mask.count_nonzero()), tuple(mask.shape)
    macs = _sum_uses(uses.get(name, 0), mask)
    return Layer(name=name, shape=shape, size=size, kept=kept, effective_kept=effective, macs=macs)


def _sum_uses(uses: int | Tensor, tensor: Tensor, *, mask: bool = False) -> int:
    """Return the sum of the uses of all entries of a tensor, or of those that a mask selects."""
    if isinstance(uses, int):
        return uses * (int(tensor.count_nonzero()) if mask else tensor.numel())
    wide = uses.expand(tensor.shape)
    return int((wide * tensor.to(wide.device) if mask else wide).sum())


def _tensor_at(model: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    tensor: Tensor = getattr(model.get_submodule(path), last)
    return tensor


def _has_collapsed(layer: Layer, graph: Graph | Untraceable | None) -> bool:
    if layer.effective_kept is None or not isinstance(graph, Graph):
        return not layer.kept
    # A layer that the network never uses was on no path to begin with: it has not collapsed.
    return not layer.effective_kept and (layer.name in graph.names or not layer.kept)


def uses_of_weights(model: nn.Module, example: Tensor) -> tuple[Uses, Tensor]:
    """Count the uses of every weight tensor in one forward pass in eval mode.

    An entry of a convolution's weight is used once per output position, one of a linear layer once per row of
    its input, one of a recurrent layer once per step, and one of attention once per token that it projects;
    embeddings look up and multiply nothing. The MACs of a tensor are its uses times its (kept) entries. A
    tensor that several modules share counts under its first name. A weight that is computed from another
    tensor counts under the name of that tensor if entries removed there are zero in the weight; else no mask
    makes it smaller, and it counts under its own name. Nor does a mask make the weights smaller that the
    forward of a layer computes, such as standardized ones: `measure_size` counts all of their entries.

    Args:
        model: The network; it is left as it is.
        example: An input (1, ...).

    Returns:
        The uses by parameter name, and the output for the example.
    """
    uses: dict[str, int | Tensor] = {}
    with torch.no_grad(), in_mode(model, training=False), plain_attention():
        names = _Names(model)
        handles = [
            module.register_forward_hook(_counter(uses, names, path), with_kwargs=True)
            for path, module in model.named_modules()
            if tensors_of(module) is not None
        ]
        try:
            output: Tensor = model(example)
        finally:
            for handle in handles:
                handle.remove()
    return uses, output


class _Names:
    """The names under which tensors count."""

    def __init__(self, model: nn.Module) -> None:
        self._first = {id(parameter): name for name, parameter in model.named_parameters()}
        self._all = dict(model.named_parameters(remove_duplicate=False))
        self._known: dict[tuple[int, str], str] = {}

    def of(self, path: str, module: nn.Module, tensor: str) -> str:
        """Return the name of a module's tensor; the network must be in eval mode, without gradients."""
        key = (id(module), tensor)
        if key not in self._known:
            self._known[key] = self._find(path, module, tensor)
        return self._known[key]

    def _find(self, path: str, module: nn.Module, tensor: str) -> str:
        own = f"{path}.{tensor}" if path else tensor
        originals = [self._all[name] for name in original_names(path, module, tensor)]
        if own in self._all or (len(originals) == 1 and keeps_zeros(module, tensor)):
            return self._first[id(self._all[own] if own in self._all else originals[0])]
        return own


def _counter(uses: dict[str, int | Tensor], names: _Names, path: str) -> Any:
    def hook(module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        for tensor, count in uses_in_call(module, inputs, named, output):
            *inner, last = tensor.split(".")
            layer = module.get_submodule(".".join(inner))
            name = names.of(".".join(filter(None, [path, *inner])), layer, last)
            uses[name] = uses.get(name, 0) + count

    return hook


def uses_in_call(
    module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any
) -> Iterator[tuple[str, int | Tensor]]:
    """Yield the weight tensors of a layer with their uses in one call."""
    first: Any = inputs[0] if inputs else named.get("input", next(iter(named.values()), None))
    if isinstance(module, LINEAR):
        yield "weight", output.shape[:-1].numel()
    elif isinstance(module, ATTENTION):
        yield from _uses_in_attention(module, _named(("query", "key", "value"), inputs) | named)
    elif isinstance(module, RECURRENT):
        steps = first.data if isinstance(first, PackedSequence) else first
        layer = tensors_of(module)
        yield from ((name, steps.shape[:-1].numel()) for name in (layer.weights if layer else ()))
    else:
        # A transposed convolution spreads every input position; others gather for every output position.
        gathered = first if isinstance(module, _ConvTransposeNd) else output
        spatial = module.weight.dim() - 2  # type: ignore[operator]
        # Of shapes alone: an operation on an activation would be followed where the network is traced.
        yield "weight", torch.Size([*gathered.shape[: -spatial - 1], *gathered.shape[-spatial:]]).numel()


def _named(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(names, values, strict=False))


def _uses_in_attention(module: nn.Module, given: Mapping[str, Tensor]) -> Iterator[tuple[str, int | Tensor]]:
    tokens = {name: given[name].shape[:-1].numel() for name in ("query", "key", "value")}
    whole = module.in_proj_weight
    if whole is None:
        yield from ((f"{name[0]}_proj_weight", count) for name, count in tokens.items())
    elif len(set(tokens.values())) == 1:
        yield "in_proj_weight", tokens["query"]
    else:
        counts = torch.tensor(list(tokens.values()))
        yield "in_proj_weight", counts.repeat_interleave(len(whole) // 3)[:, None]  # type: ignore[arg-type]
    yield "out_proj.weight", tokens["query"]
