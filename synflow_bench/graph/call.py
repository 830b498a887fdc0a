"""A call of an ATen operation while a network is traced, and what is known of its tensors."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from synflow_bench.graph.graph import GraphBuilder, View


class TracingError(Exception):
    """An operation through which nodes cannot be followed."""


class TracedTensors:
    """The nodes of activations, and the parameters and buffers that a tensor views or was computed from.

    A view is recognized by its memory, so that every way to transpose, slice or reshape a parameter is
    followed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.nodes: MutableMapping[Tensor, Tensor | None] = WeakTensorKeyDictionary()
        self._computed: MutableMapping[Tensor, frozenset[str]] = WeakTensorKeyDictionary()
        self._named: dict[int, list[tuple[str, Tensor]]] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self._named.setdefault(_memory(tensor), []).append((name, tensor))

    def view(self, tensor: Tensor) -> View | None:
        """Return how `tensor` views a parameter or a buffer; None if it does not."""
        for name, base in self._named.get(_memory(tensor), []):
            offset = int(tensor.storage_offset()) - int(base.storage_offset())
            if 0 <= offset < max(base.numel(), 1) and tensor.dtype == base.dtype:
                # Copies that `expand` made are one entry each.
                shape = [1 if s == 0 else n for n, s in zip(tensor.shape, tensor.stride(), strict=True)]
                return View(name, tuple(shape), tensor.stride(), offset, tuple(base.shape), base.stride())
        return None

    def names(self, tensor: Tensor) -> frozenset[str]:
        """Return the parameters and buffers that `tensor` views or was computed from."""
        view = self.view(tensor)
        return frozenset({view.name}) if view else self._computed.get(tensor, frozenset())

    def note_copy(self, copy: Tensor, tensor: Tensor) -> None:
        """Note that `copy` has the entries of `tensor`, a whole parameter or buffer."""
        view = self.view(tensor)
        if view is not None and view.shape == view.base_shape and view.stride == view.base_stride:
            self._named[_memory(copy)] = [(view.name, copy)]

    def note_computed(self, tensor: Tensor, names: frozenset[str]) -> None:
        """Note that `tensor` was computed from these parameters and buffers, unless it is a view of one."""
        if names and self.view(tensor) is None:
            self._computed[tensor] = names

    def shares_memory(self, tensor: Tensor) -> bool:
        """Return True if the memory of `tensor` holds another activation, a parameter, or other entries."""
        memory = _memory(tensor)
        others = [other for other in self.nodes if other is not tensor and _memory(other) == memory]
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return bool(others) or memory in self._named or not whole


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


@dataclass(frozen=True)
class Call:
    """A call of an ATen operation, as its rule sees it.

    Attributes:
        name: The name of the operation without namespace, overload and the underscore of in-place operations.
        operation: The overload that was called.
        arguments: The arguments by name.
        output: The (first) output.
        tensors: What is known of the tensors.
        graph: The graph so far.
    """

    name: str
    operation: Any
    arguments: Mapping[str, Any]
    output: Tensor
    tensors: TracedTensors
    graph: GraphBuilder

    @classmethod
    def of(
        cls,
        operation: Any,
        positional: Sequence[Any],
        named: Mapping[str, Any],
        output: Any,
        tensors: TracedTensors,
        graph: GraphBuilder,
    ) -> Call:
        """Describe the call of `operation` with these arguments, which returned `output`."""
        names = [argument.name for argument in operation._schema.arguments]
        first = output[0] if isinstance(output, list | tuple) and output else output
        return cls(
            name=operation.overloadpacket.__name__.removesuffix("_"),
            operation=operation,
            arguments={**dict(zip(names, positional, strict=False)), **named},
            output=first if isinstance(first, Tensor) else torch.empty(0),
            tensors=tensors,
            graph=graph,
        )

    def __getitem__(self, argument: str) -> Any:
        return self.arguments.get(argument)

    def ids(self, tensor: Tensor) -> Tensor:
        """Return the nodes of an activation, along every dimension in which they differ."""
        found = self.tensors.nodes.get(tensor)
        if found is None:
            raise TracingError(f"aten.{self.name} of an activation whose nodes are not known")
        return found

    def is_activation(self, value: Any) -> bool:
        """Return True if the nodes of `value` are known."""
        return isinstance(value, Tensor) and value in self.tensors.nodes

    def view(self, tensor: Tensor) -> View | None:
        """Return how `tensor` views a parameter or a buffer; None if it does not."""
        return self.tensors.view(tensor)

    def add_values(self, ids: Tensor, values: Tensor | None) -> None:
        """Note that the entries of `values` belong to the nodes at their places."""
        view = None if values is None else self.view(values)
        if view is not None:
            self.graph.add_values(ids, view)

    def add_constant(self, ids: Tensor, constant: Tensor) -> None:
        """Note the parameters in `constant`, and that nodes which it tells apart cannot be sliced away."""
        self.graph.opaque |= self.tensors.names(constant)
        if constant.ndim > ids.ndim or any(
            ids.shape[ids.ndim - 1 - d] > 1 for d, size in enumerate(reversed(constant.shape)) if size > 1
        ):
            self.graph.fix(ids)
