"""Holding removed weights at zero while a network trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self, TypeGuard
from weakref import ref

import torch
from torch import Tensor, nn
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from synflow_bench.errors import UsageError


class Hold:
    """Keeps the removed weights of a network, and their gradients, at zero until it is released.

    A hook per parameter clears gradients as they are computed, so that clipping and line searches see the
    gradients of the masked network. A hook before every step of an optimizer clears gradients that came
    another way, and one after it clears weights that momentum, weight decay or an update that mixes entries
    has moved. Loading the state of the network or of a part clears weights too. Parameters are those that
    the network has at that time: loading may put new ones in their places.

    Args:
        model: The network.
        held: Its parameters with their masks, by name.

    Raises:
        UsageError: The network is a ScriptModule. A step of an optimizer raises it too, if it trains a layer
            whose held parameter was taken away or has another shape.
    """

    def __init__(self, model: nn.Module, held: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
            raise UsageError("a ScriptModule cannot be held; hold the network that it was made from")
        places = _places(model)
        self._held = [_HeldParameter(name, mask, places[id(p)]) for name, (p, mask) in held.items()]
        for each, _, parameter in self._found():
            if parameter is not None:
                each.clear(parameter)
        self._hooks: list[Any] = [
            register_optimizer_step_pre_hook(self._before_step),
            register_optimizer_step_post_hook(self._after_step),
        ]
        self._hooks += [hook for each in self._held for hook in each.after_loading()]

    def release(self) -> None:
        """Let all weights train again; those that are zero stay so until an optimizer moves them."""
        for hook in [*self._hooks, *(hook for each in self._held for hook in each.hooks)]:
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
        trained, found = _trained(optimizer), self._found()
        if self._held and not found:
            self.release()  # the network is gone, and nobody else will
        for each, layer, parameter in found:
            if parameter is not None and id(parameter) in trained:
                each.clear(parameter, weights=False)
            elif parameter is None and not trained.isdisjoint(map(id, layer.parameters())):
                raise each.lost()

    def _after_step(self, optimizer: Optimizer, *_: Any) -> None:
        trained = _trained(optimizer)
        for each, _layer, parameter in self._found():
            if parameter is not None and id(parameter) in trained:
                each.clear(parameter, gradients=False)

    def _found(self) -> list[tuple[_HeldParameter, nn.Module, Tensor | None]]:
        return [(each, layer, parameter) for each in self._held for layer, parameter in each.found()]


def _trained(optimizer: Optimizer) -> set[int]:
    return {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


class _Place:
    """A path in a network and the layer that is there; both may be freed meanwhile."""

    def __init__(self, model: nn.Module, path: str, layer: nn.Module, attribute: str) -> None:
        self._model, self._layer, self.attribute = ref(model), ref(layer), attribute
        self._path = path.split(".") if path else []

    def layers(self) -> list[nn.Module]:
        """Return the layer that is at the path now, and the one that was there if it is another."""
        module = self._model()
        for name in self._path:
            module = None if module is None else module._modules.get(name)
        found = dict.fromkeys([module, self._layer()])
        return [each for each in found if each is not None]


def _places(model: nn.Module) -> dict[int, list[_Place]]:
    """Return the places of every parameter of `model`, by the identity of the parameter."""
    places: dict[int, list[_Place]] = {}
    for path, layer in model.named_modules():
        for attribute, parameter in layer._parameters.items():
            places.setdefault(id(parameter), []).append(_Place(model, path, layer, attribute))
    return places


class _HeldParameter:
    """A parameter, tied or not, and the entries that were removed from it."""

    def __init__(self, name: str, mask: Tensor, places: list[_Place]) -> None:
        self.hooks: list[Any] = []
        self._name = name
        self._places = places
        self._removed = mask.detach().logical_not()

    def found(self) -> Iterator[tuple[nn.Module, Tensor | None]]:
        """Yield the layers that are still there, each with its parameter, or None if it is another now."""
        seen: set[int] = set()
        for place in self._places:
            layers = place.layers()
            for layer in layers:
                parameter = layer._parameters.get(place.attribute)
                if self.fits(parameter):
                    if id(parameter) not in seen:
                        seen.add(id(parameter))
                        yield layer, parameter
                    break
            else:
                yield from ((layer, None) for layer in layers[:1])

    def after_loading(self) -> Iterator[Any]:
        """Let the layers clear the parameter after their state is loaded; yield the hooks that do so."""
        for place in self._places:
            for layer in place.layers():
                hook = _AfterLoading(self, place.attribute)
                yield layer.register_load_state_dict_post_hook(hook)  # type: ignore[no-untyped-call]

    def fits(self, parameter: Tensor | None) -> TypeGuard[Tensor]:
        """Return True for a parameter of the mask's shape."""
        return parameter is not None and parameter.shape == self._removed.shape

    def lost(self) -> UsageError:
        """Return the error of a layer that is trained without the parameter."""
        return UsageError(
            f"the network has lost its held parameter {self._name!r} of shape {tuple(self._removed.shape)}; "
            "change the network before it is pruned and held, or release the hold"
        )

    @torch.no_grad()
    def clear(self, parameter: Tensor, *, weights: bool = True, gradients: bool = True) -> None:
        """Set the removed entries, or their gradients, to zero, and those of later gradients."""
        if weights:
            parameter.detach().masked_fill_(self._removed_on(parameter), 0)
        gradient = parameter.grad if gradients else None
        if gradient is not None and gradient.is_sparse:
            gradient._values().masked_fill_(self._removed_on(gradient)[gradient._indices()[0]], 0)
        elif gradient is not None:
            gradient.masked_fill_(self._removed_on(gradient), 0)
        self._watch(parameter)

    def _watch(self, parameter: Tensor) -> None:
        """Clear gradients of `parameter` as they are computed, also if it is frozen now and trained later."""
        present = parameter._backward_hooks or {}
        can_train = parameter.is_floating_point() and not parameter.is_inference()
        if not can_train or any(hook.id in present for hook in self.hooks):
            return
        trains = parameter.requires_grad
        parameter.requires_grad_(True)  # a hook is not registered otherwise
        self.hooks.append(parameter.register_hook(self._cleared))  # type: ignore[no-untyped-call]
        parameter.requires_grad_(trains)

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


class _AfterLoading:
    """A hook of a layer whose state was loaded. A copy of the layer is not held: its hook does nothing."""

    def __init__(self, held: _HeldParameter | None = None, attribute: str = "") -> None:
        self._held: Callable[[], _HeldParameter | None] = ref(held) if held else lambda: None
        self._attribute = attribute

    def __call__(self, layer: nn.Module, _: Any) -> None:
        held, parameter = self._held(), layer._parameters.get(self._attribute)
        if held is not None and held.fits(parameter):
            held.clear(parameter)

    def __reduce__(self) -> tuple[type[_AfterLoading], tuple[()]]:
        return _AfterLoading, ()
