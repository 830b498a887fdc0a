"""Tracing: a network's graph, found by running the network once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synflow_bench.graph.call import Call, TracedTensors, TracingError
from synflow_bench.graph.graph import Graph, GraphBuilder, Untraceable
from synflow_bench.graph.rules import rule_of


def trace(model: nn.Module, example: Any) -> Graph | Untraceable:
    """Find the graph of `model` from one forward pass in eval mode.

    Operations are followed below autograd, so the way in which the network is written does not matter:
    modules, functions, loops and conditions on shapes. What the network decides by the values of its input,
    such as whether an attention mask hides anything, is as for the example. The nodes of the input are its
    channels, dimension 1, or the places of its tokens.

    Args:
        model: The network; it is left as it is.
        example: An input (1, C, ...) or token ids (1, T) on the device of the network, or a tuple or a
            dictionary that the network takes as its one argument.

    Returns:
        The graph, or `Untraceable` for a network that uses its activations in a way without a rule, or that
        fails on the example.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> graph = trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.ones(1, 4))
        >>> [(step.inputs.tolist(), step.outputs.tolist()) for step in graph.steps]
        [([0, 1, 2, 3], [4, 5, 6]), ([4, 5, 6], [7, 8])]
    """
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.layout is not torch.strided:
            return Untraceable(f"{type(model).__name__}: cannot follow the sparse tensor {name!r}")
    tensors, graph = TracedTensors(model), GraphBuilder()
    for leaf in tree_leaves(example):
        if isinstance(leaf, Tensor):
            shape = [size if d == 1 else 1 for d, size in enumerate(leaf.shape)]
            tensors.nodes[leaf] = graph.add_nodes(prod(shape)).view(shape)
    inputs = torch.arange(graph.count)
    try:
        with torch.no_grad(), in_mode(model, training=False), plain_attention(), _Tracer(tensors, graph):
            output = model(example)
        return graph.build(inputs, _output_nodes(tensors, output))
    except TracingError as error:
        return Untraceable(f"{type(model).__name__}: cannot follow {error}")
    except Exception as error:  # a network may fail in any way, and only loses what its graph is for
        reason = " ".join(str(error).split())[:200] or "no reason given"
        return Untraceable(f"{type(model).__name__}: cannot follow, {type(error).__name__}: {reason}")


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put every module of `model` in training or eval mode, and back into its own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def plain_attention() -> Iterator[None]:
    """Let attention run as matrix products, not as one operation that hides them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _output_nodes(tensors: TracedTensors, output: Any) -> Tensor:
    found = [tensors.nodes.get(leaf) for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    nodes = [ids.flatten() for ids in found if ids is not None]
    if not nodes or len(nodes) < len(found):
        raise TracingError("an output that is not computed from the input")
    return torch.cat(nodes)


_NEW = frozenset(
    [f"{kind}_like" for kind in ("empty", "full", "ones", "rand", "randn", "zeros")]
    + [f"new_{kind}" for kind in ("empty", "full", "ones", "zeros")]
)
"""Operations that use only the shape of an activation."""


class _Tracer(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Applies the rules of operations while they run."""

    def __init__(self, tensors: TracedTensors, graph: GraphBuilder) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tensors, self._graph = tensors, graph
        self._written: list[Any] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to skip the compiler, torch would first load it: 140 MiB and seconds

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        arguments = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        others = [tensor for tensor in arguments if tensor not in self._tensors.nodes]
        if func.overloadpacket.__name__ not in _NEW and len(others) < len(arguments):
            # No mask of a parameter tells the effect of what was computed from it.
            for tensor in others:
                if self._tensors.view(tensor) is None:
                    self._graph.opaque |= self._tensors.names(tensor)
            self._follow(Call.of(func, args, kwargs or {}, output, self._tensors, self._graph), output)
        else:
            self._note_computed(func, arguments, output)
        return output

    def _follow(self, call: Call, output: Any) -> None:
        ids = rule_of(call.operation, call.name)(call)
        writes = any(r.alias_info and r.alias_info.is_write for r in call.operation._schema.returns)
        results = output if isinstance(output, list | tuple) else [output]
        found: list[Any] = ids if isinstance(ids, list) else [ids]
        if writes:
            self._check_written(call, results[0], found[0])
        for place, result in enumerate(results):
            if place < len(found) and isinstance(result, Tensor):
                self._tensors.nodes[result] = found[place]
            elif isinstance(result, Tensor):
                # Indices come from all that their values come from; of statistics no rule tells.
                alike = result.shape == call.output.shape
                self._tensors.nodes[result] = found[0] if alike else None

    def _note_computed(self, func: Any, arguments: list[Tensor], output: Any) -> None:
        memories = {storage.data_ptr() for storage in self._written}
        if memories and any(tensor.untyped_storage().data_ptr() in memories for tensor in arguments):
            raise TracingError(f"{func} on a tensor that was filled through another one")
        names = frozenset[str]().union(*(self._tensors.names(tensor) for tensor in arguments))
        if func._schema.is_mutable:
            self._graph.opaque |= names
        elif func.overloadpacket.__name__ == "repeat" and output.shape == arguments[0].shape:
            self._tensors.note_copy(output, arguments[0])  # instance norm, for a single example
        for result in tree_leaves(output):
            if isinstance(result, Tensor):
                self._tensors.note_computed(result, names)

    def _check_written(self, call: Call, target: Tensor, ids: Tensor) -> None:
        before = self._tensors.nodes.get(target)
        if before is not None and before.shape == ids.shape and torch.equal(before, ids):
            return
        if self._tensors.shares_memory(target):
            raise TracingError(f"aten.{call.name}_ into a part of a tensor")
        self._written.append(target.untyped_storage())
