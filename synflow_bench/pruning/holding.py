"""Holding removed weights at zero while a network trains."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from weakref import ref

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)


class Hold:
    """Keeps the removed weights of a network, and their gradients, at zero until it is released.

    A hook per parameter clears gradients as they are computed, so that clipping and line searches see the
    gradients of the masked network. A hook before every step of an optimizer clears gradients that came
    another way, and one after it clears weights that momentum, weight decay or an update that mixes entries
    has moved. Loading a state dictionary clears weights too.

    Args:
        model: The network.
        held: Its parameters with their masks, by name.
    """

    def __init__(self, model: nn.Module, held: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        self._held = [_HeldParameter(parameter, mask) for parameter, mask in held.values()]
        self._hooks: list[Any] = [each.hook for each in self._held if each.hook is not None]
        self._hooks += [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
            model.register_load_state_dict_post_hook(self._after_loading),  # type: ignore[no-untyped-call]
        ]
        self._clear()

    def release(self) -> None:
        """Let all weights train again; those that are zero stay so until an optimizer moves them."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._held.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"<Hold: {len(self._held)} parameters>" if self._hooks else "<Hold: released>"

    def _before_step(self, optimizer: Optimizer, *_: Any) -> None:
        for each in self._of(optimizer):
            each.clear_gradient()

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        for each in self._of(optimizer):
            each.clear_weight()

    def _after_loading(self, *_: Any) -> None:
        self._clear()

    def _clear(self) -> None:
        for each in self._held:
            each.clear_weight()
            each.clear_gradient()

    def _of(self, optimizer: Optimizer) -> list[_HeldParameter]:
        if self._held and all(each.parameter() is None for each in self._held):
            self.release()  # the network is gone, and nobody else will
        trained = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        return [each for each in self._held if id(each.parameter()) in trained]


class _HeldParameter:
    """A parameter and the entries that were removed from it; the parameter may be freed meanwhile."""

    def __init__(self, parameter: Tensor, mask: Tensor) -> None:
        self.parameter = ref(parameter)
        self._removed = mask.detach().logical_not().to(parameter.device)
        self.hook: Any = None
        if parameter.requires_grad:
            self.hook = parameter.register_hook(self._cleared)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def clear_weight(self) -> None:
        """Set the removed entries to zero."""
        parameter = self.parameter()
        if parameter is not None:
            parameter.masked_fill_(self._removed_on(parameter), 0)

    @torch.no_grad()
    def clear_gradient(self) -> None:
        """Set the gradient of the removed entries to zero."""
        gradient = getattr(self.parameter(), "grad", None)
        if gradient is None:
            return
        if gradient.is_sparse:
            gradient._values().masked_fill_(self._removed_on(gradient)[gradient._indices()[0]], 0)
        else:
            gradient.masked_fill_(self._removed_on(gradient), 0)

    def _cleared(self, gradient: Tensor) -> Tensor:
        removed = self._removed_on(gradient)
        if gradient.is_sparse:
            indices = gradient._indices()
            values = gradient._values().masked_fill(removed[indices[0]], 0)
            return torch.sparse_coo_tensor(indices, values, gradient.shape, check_invariants=False)
        return gradient.masked_fill(removed, 0)

    def _removed_on(self, tensor: Tensor) -> Tensor:
        if self._removed.device != tensor.device:
            self._removed = self._removed.to(tensor.device)
        return self._removed
