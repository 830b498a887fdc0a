"""What the tensors are that a running network passes around."""

from __future__ import annotations

from collections.abc import MutableMapping

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from synflow_bench.metrics.connectivity._graph import View


class Known:
    """The units of activations, and which parameters and buffers a tensor views or was computed from.

    A view is known by its memory, so every way to transpose, slice or reshape a parameter is followed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.units: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._computed: MutableMapping[Tensor, frozenset[str]] = WeakTensorKeyDictionary()
        self._named: dict[int, list[tuple[str, Tensor]]] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self._named.setdefault(_memory(tensor), []).append((name, tensor))

    def view(self, tensor: Tensor) -> View | None:
        """How `tensor` views a parameter or a buffer, if it does."""
        for name, base in self._named.get(_memory(tensor), []):
            offset = int(tensor.storage_offset()) - int(base.storage_offset())
            if 0 <= offset < max(base.numel(), 1) and tensor.dtype == base.dtype:
                # Copies that `expand` made are one entry each.
                shape = [1 if s == 0 else n for n, s in zip(tensor.shape, tensor.stride(), strict=True)]
                return View(name, tuple(shape), tensor.stride(), offset, tuple(base.shape), base.stride())
        return None

    def names(self, tensor: Tensor) -> frozenset[str]:
        """The parameters and buffers that `tensor` views or was computed from."""
        view = self.view(tensor)
        return frozenset({view.name}) if view else self._computed.get(tensor, frozenset())

    def note_computed(self, tensor: Tensor, names: frozenset[str]) -> None:
        """`tensor` was computed from these, and is no view of one."""
        if names and self.view(tensor) is None:
            self._computed[tensor] = names

    def shares_memory(self, tensor: Tensor) -> bool:
        """Whether another activation or a parameter lies in the memory of `tensor`, or more than it does."""
        memory = _memory(tensor)
        others = [other for other in self.units if other is not tensor and _memory(other) == memory]
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return bool(others) or memory in self._named or not whole


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
