"""Compaction: train a smaller network in place of a masked one, with the same result.

A node of a network (a channel or a feature) is dead when no path of kept weights leads from it to the output.
`compact` removes dead nodes from a copy of the network; `CompactNetwork.expand` writes what the copy has
learned back into the whole network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from synflow_bench.graph import (
    CONSTANT,
    Graph,
    LayerEdges,
    Untraceable,
    View,
    call_with,
    in_mode,
    reachable,
)
from synflow_bench.pruning import copy_network

MAX_SHARE = 0.9
"""The share of a network above which compaction saves too little to be worth it."""

MaskedNetwork = tuple[nn.Module, Mapping[str, Tensor]]
"""A network and its masks."""

Slices = Mapping[str, Mapping[int, Tensor]]
"""The entries that stay, by tensor and dimension, in order, (n,) int64; all others stay whole."""


@dataclass(frozen=True)
class CompactNetwork:
    """A network without the dead nodes of the whole network from which it was made.

    Attributes:
        model: The network; it computes what the whole masked network computes, except for rounding.
        masks: Its masks.
        share: The share of the entries of the whole network's parameters and buffers that it has.
    """

    model: nn.Module
    masks: Mapping[str, Tensor]
    share: float
    _whole: nn.Module
    _whole_masks: Mapping[str, Tensor]
    _slices: Slices

    def compact_tensor(self, name: str, tensor: Tensor) -> Tensor:
        """Return what is left of a tensor with the shape of `name` in the whole network."""
        return _sliced({name: tensor}, self._slices)[name]

    def expand_masks(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return masks of the whole network that keep what `masks` keep here, and nothing removed."""
        whole = {name: torch.zeros_like(mask) for name, mask in self._whole_masks.items()}
        for name, mask in masks.items():
            whole[name][_index(whole[name], self._slices.get(name, {}))] = mask
        return whole

    @torch.no_grad()
    def expand(self) -> None:
        """Copy all parameters and buffers to their places in the whole network.

        Removed entries keep the values that they had. Masked weights become zero.
        """
        whole = _tensors(self._whole)
        for name, mask in self._whole_masks.items():
            whole[name].mul_(mask.to(whole[name]))
        for name, tensor in _tensors(self.model).items():
            if name in self._slices:
                whole[name][_index(whole[name], self._slices[name])] = tensor
            else:
                whole[name].copy_(tensor)


def compact(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    graph: Graph | Untraceable,
    input_shape: tuple[int, ...],
    same: Callable[[MaskedNetwork, MaskedNetwork, tuple[int, ...]], bool] | None = None,
    max_share: float = MAX_SHARE,
) -> CompactNetwork | None:
    """Remove the dead nodes from a copy of `model`.

    Dead nodes get no gradient: all other nodes train exactly as in the whole network, except for rounding.
    The statistics that a norm keeps of a dead node which stays because others need its place may differ.

    Args:
        model: The network; it is left as it is.
        masks: Bool tensors by parameter name, True for kept weights.
        graph: The outcome of `trace`.
        input_shape: The shape of one example.
        same: Decides whether two networks compute the same for this input shape; by default `same_logits`.
        max_share: The share of parameters and buffers above which the network is left whole.

    Returns:
        The compact network, or None where more than `max_share` would stay, where the network cannot be
        traced or draws random numbers (as dropout does), and where the compact network is not the `same`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from synflow_bench.graph import trace
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> masks = {"2.weight": torch.arange(8).expand(2, 8) < 3}
        >>> small = compact(model, masks, trace(model, torch.ones(1, 4)), (4,))
        >>> small.model
        Sequential(
          (0): Linear(in_features=4, out_features=3, bias=True)
          (1): ReLU()
          (2): Linear(in_features=3, out_features=2, bias=True)
        )
    """
    if isinstance(graph, Untraceable) or graph.opaque & masks.keys():
        return None
    slices = _plan(graph, masks, _of_fixed_size(model) | graph.opaque)
    share = _share(model, slices)
    if share > max_share:
        return None
    try:
        small = _cut(model, slices)
        small_masks = _sliced(masks, slices)
        if not (same or same_logits)((model, masks), (small, small_masks), input_shape):
            return None
    except Exception:  # the network may depend on its sizes in any way: it is left whole
        return None
    return CompactNetwork(small, small_masks, share, model, masks, slices)


@dataclass(frozen=True)
class _Axis:
    """One use of dimension `dimension`, of `size` entries, of tensor `name`.

    Entry `entries[i]` belongs to node `nodes[i]`, both (P,) int64; a node can be `CONSTANT`.
    """

    name: str
    dimension: int
    size: int
    entries: Tensor
    nodes: Tensor

    def kept_entries(self, kept: Tensor) -> Tensor:
        """Return the entries whose nodes are `kept` (nodes,); those of constants are."""
        return self.entries[torch.cat([kept, kept.new_ones(1)])[self.nodes]]


def _of_fixed_size(model: nn.Module) -> set[str]:
    """Name the tensors of layers that compare their input with a size of their own, such as attention."""
    fixed = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)
    inside = {id(p) for layer in model.modules() if isinstance(layer, fixed) for p in layer.parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) in inside}


def _plan(graph: Graph, masks: Mapping[str, Tensor], fixed: set[str]) -> Slices:
    """Keep what can change the output, and what must stay with it; tensors that are `fixed` stay whole."""
    uses, kept = _axes(graph, fixed)
    by_axis: dict[tuple[str, int], list[_Axis]] = defaultdict(list)
    for axis in uses:
        by_axis[axis.name, axis.dimension].append(axis)
    # Nodes that share statistics are taken to change all that share them.
    ends = torch.cat([graph.outputs, graph.mixed.nonzero().squeeze(1)])
    kept |= reachable(replace(graph, outputs=ends), masks).to_output | graph.fixed
    while True:
        before = int(kept.count_nonzero())
        groups = torch.zeros_like(kept)
        groups[graph.coupled[kept]] = True
        kept |= groups[graph.coupled]
        for axes in by_axis.values():
            _keep_sharing(axes, kept)
        if int(kept.count_nonzero()) == before:
            break
    slices: dict[str, dict[int, Tensor]] = defaultdict(dict)
    for (name, dimension), axes in by_axis.items():
        entries = _kept_entries(axes, kept)
        if not bool(entries.all()):
            slices[name][dimension] = entries.nonzero().squeeze(1)
    return slices


def _keep_sharing(axes: list[_Axis], kept: Tensor) -> None:
    """Keep all nodes that share an entry with a kept one, and at least one entry: no layer may vanish."""
    entries = _kept_entries(axes, kept)
    if not bool(entries.any()):
        entries[0] = True
    for axis in axes:
        nodes = axis.nodes[entries[axis.entries]]
        kept[nodes[nodes != CONSTANT]] = True


def _kept_entries(axes: list[_Axis], kept: Tensor) -> Tensor:
    """Return the entries (size,) bool that any of the uses of one axis keeps, or that none of them has."""
    entries = torch.ones(axes[0].size, dtype=torch.bool)
    for axis in axes:
        entries[axis.entries] = False
    for axis in axes:
        entries[axis.kept_entries(kept)] = True
    return entries


def _axes(graph: Graph, fixed: set[str]) -> tuple[list[_Axis], Tensor]:
    """Find the axes of tensors along which nodes lie, and the nodes (nodes,) bool that no slicing can remove.

    A tensor that any use sees in part or in groups cannot be sliced for any of its uses, nor can one that is
    `fixed`.
    """
    places = list(_places(graph))
    rigid = {name for name, _, axes in places if axes is None} | fixed
    uses: list[_Axis] = []
    # One place more than nodes, for `CONSTANT`.
    stuck = torch.zeros(graph.num_nodes + 1, dtype=torch.bool)
    for step in graph.steps:
        if isinstance(step, LayerEdges):
            for nodes in (step.inputs, step.outputs):
                if nodes.numel() == 1:
                    stuck[nodes] = True  # the only node of a layer lies along no axis
    for name, nodes, axes in places:
        if axes is None or name in rigid:
            stuck[nodes] = True
        else:
            uses.extend(axes)
    return uses, stuck[:-1]


def _places(graph: Graph) -> Iterator[tuple[str | None, Tensor, list[_Axis] | None]]:
    """Yield every use of a tensor: its name, its nodes, and the axes along which these lie, or None."""
    for step in graph.steps:
        if isinstance(step, LayerEdges):
            name = None if step.weight is None else step.weight.name
            yield name, torch.cat([step.inputs, step.outputs]), _layer_axes(step)
        elif step.scale is not None and step.entries is not None:
            nodes = torch.cat([step.sources, step.targets])
            yield step.scale.name, nodes, _vector_axes(step.scale, step.entries, step.targets)
    for each in graph.node_values:
        yield each.values.name, each.nodes, _vector_axes(each.values, each.entries, each.nodes)


def _layer_axes(step: LayerEdges) -> list[_Axis] | None:
    view = step.weight
    if view is None or not _is_whole(view):
        return None
    if step.groups == 1:
        along = [(1, step.outputs), (2, step.inputs)]
    elif view.shape[1:3] == (1, 1):  # depthwise: a group is a channel, which stays or goes on both sides
        along = [(0, step.outputs), (0, step.inputs)]
    else:
        return None
    return [
        _Axis(view.name, _base_dimension(view, d), view.shape[d], torch.arange(nodes.numel()), nodes)
        for d, nodes in along
        if view.shape[d] > 1
    ]


def _vector_axes(view: View, entries: Tensor, nodes: Tensor) -> list[_Axis] | None:
    long = [d for d, size in enumerate(view.shape) if size > 1]
    if not _is_whole(view) or len(long) > 1:
        return None
    return [_Axis(view.name, _base_dimension(view, d), view.shape[d], entries, nodes) for d in long]


def _is_whole(view: View) -> bool:
    """Return True if the view has every entry of its tensor, each once, dimension by dimension."""
    sizes = sorted((stride, size) for stride, size in zip(view.stride, view.shape, strict=True) if size > 1)
    base = sorted((s, n) for s, n in zip(view.base_stride, view.base_shape, strict=True) if n > 1)
    return view.offset == 0 and sizes == base


def _base_dimension(view: View, dimension: int) -> int:
    """Return the dimension of the tensor that lies along `dimension` of its whole view."""
    pairs = list(zip(view.base_shape, view.base_stride, strict=True))
    return pairs.index((view.shape[dimension], view.stride[dimension]))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers, saved or not; tied ones once, by their first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _index(tensor: Tensor, by_dimension: Mapping[int, Tensor]) -> tuple[Tensor, ...]:
    """Return the index of the entries that stay, in all dimensions at once."""
    kept = [by_dimension.get(d, torch.arange(size)) for d, size in enumerate(tensor.shape)]
    return tuple(
        entries.view([-1 if d == place else 1 for d in range(tensor.dim())]).to(tensor.device)
        for place, entries in enumerate(kept)
    )


def _sliced(tensors: Mapping[str, Tensor], slices: Slices) -> dict[str, Tensor]:
    """Return the entries of `tensors` that stay; tensors that stay whole are not copied."""
    return {
        name: _selected(tensor, slices[name]) if name in slices else tensor
        for name, tensor in tensors.items()
    }


def _selected(tensor: Tensor, by_dimension: Mapping[int, Tensor]) -> Tensor:
    # One dimension after the other, the one that leaves least first: all at once is ten times slower.
    for dimension in sorted(by_dimension, key=lambda d: by_dimension[d].numel() / tensor.shape[d]):
        tensor = tensor.index_select(dimension, by_dimension[dimension].to(tensor.device))
    return tensor.contiguous()


def _share(model: nn.Module, slices: Slices) -> float:
    """Return the share of the entries of parameters and buffers that stay."""
    whole = small = 0
    for name, tensor in _tensors(model).items():
        left = tensor.numel()
        for dimension, entries in slices.get(name, {}).items():
            left = left // tensor.shape[dimension] * entries.numel()
        whole, small = whole + tensor.numel(), small + left
    return small / whole


@torch.no_grad()
def _cut(model: nn.Module, slices: Slices) -> nn.Module:
    """Copy `model` with its tensors sliced, tied ones tied.

    Raises:
        ValueError: A layer states its size in a way that none of its tensors does.
    """
    # Slices are put in the place of copies beforehand: otherwise whole tensors would be copied to be sliced.
    memo: dict[int, object] = {}
    for name, tensor in _tensors(model).items():
        if name in slices:
            small = _selected(tensor.detach(), slices[name])
            parameter = isinstance(tensor, nn.Parameter)
            memo[id(tensor)] = nn.Parameter(small, tensor.requires_grad) if parameter else small
    copy = copy_network(model, memo)
    for module in copy.modules():
        update_sizes(module)
    return copy


def update_sizes(module: nn.Module) -> None:
    """Set the sizes that a layer states to those of its tensors."""
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, _ConvNd) and module.groups == 1:
        first, second = module.weight.shape[:2]
        inputs, outputs = (first, second) if module.transposed else (second, first)
        module.in_channels, module.out_channels = inputs, outputs
    elif isinstance(module, _ConvNd) and module.groups == module.in_channels == module.out_channels:
        module.groups = module.in_channels = module.out_channels = module.weight.shape[0]
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
    elif isinstance(module, _NormBase):
        sized = next((t for t in (module.weight, module.running_mean) if t is not None), None)
        if sized is not None:
            module.num_features = sized.numel()
        elif isinstance(module, _InstanceNorm):
            raise ValueError("an instance norm without tensors compares its input with a size of its own")


EXAMPLES = 2
"""The number of random examples on which two networks are compared."""

SCALE = 17 / 16
"""The factor of all parameters in the comparison: a copy that computes with the original's tensors shows."""

TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-3}
"""The largest difference of equal logits, as a share of the largest logit; far above rounding."""


@torch.no_grad()
def same_logits(
    whole: MaskedNetwork,
    small: MaskedNetwork,
    input_shape: tuple[int, ...],
    modes: tuple[bool, ...] = (False, True),
) -> bool:
    """Return True if both give the same logits in eval and in training mode, and draw no random numbers.

    The numbers that dropout draws depend on the number of nodes. Neither network is changed.

    Args:
        whole: A network and its masks.
        small: The other one.
        input_shape: The shape of one example.
        modes: The modes to compare: False for eval mode, True for training mode.
    """
    device = next(whole[0].parameters()).device
    # In double precision rounding explains no difference, whatever the device does to float32.
    dtype = torch.float32 if device.type == "mps" else torch.float64
    inputs = torch.randn(EXAMPLES, *input_shape, generator=torch.Generator().manual_seed(0))
    inputs = inputs.to(device, dtype)
    for training in modes:
        with _watch_draws(device) as drawn:
            expected, found = (_logits(each, inputs, training=training) for each in (whole, small))
        if drawn or expected.shape != found.shape:
            return False
        if not float((expected - found).abs().max()) <= TOLERANCE[expected.dtype] * float(
            expected.abs().max()
        ):
            return False
    return True


def _logits(masked: MaskedNetwork, inputs: Tensor, *, training: bool) -> Tensor:
    model, masks = masked
    state = {name: tensor.to(inputs.dtype) * SCALE for name, tensor in model.named_parameters()}
    for name, mask in masks.items():
        state[name].mul_(mask.to(state[name]))
    # Copies, since a pass in training mode writes into buffers.
    for name, tensor in model.named_buffers():
        state[name] = tensor.to(inputs.dtype if tensor.is_floating_point() else tensor.dtype, copy=True)
    with in_mode(model, training=training):
        logits: Tensor = call_with(model, state, inputs)
    return logits


@contextmanager
def _watch_draws(device: torch.device) -> Iterator[list[str]]:
    """Restore global generators afterwards, and list those from which was drawn."""
    drawn: list[str] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        before = _generator_states(device)
        yield drawn
        after = _generator_states(device)
        drawn.extend(name for name, state in before.items() if not torch.equal(state, after[name]))


def _generator_states(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states
