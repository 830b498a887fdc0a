"""The cost of a cell: the multiply-accumulates (MACs) of all its trainings and prunings.

Costs are theoretical: they follow from masks and from the examples that a network has seen, not from seconds,
and are the same however a training is computed. A product has two derivatives of its own size, so that a
training step costs three forward passes (Evci et al., Rigging the Lottery, 2020, arXiv 1911.11134).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import register_multi_grad_hook
from torch.nn.modules.module import _global_forward_hooks_with_kwargs, register_module_forward_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from synflow_bench.graph import in_mode, plain_attention
from synflow_bench.metrics import Uses, count_macs, uses_in_call
from synflow_bench.pruning.prunable import tensors_of
from synflow_bench.records import Cost

STEP = 3
"""The forward passes that a training step costs: its own, and two for the derivatives of every product."""
_BACKWARD = 2
"""The products of the derivatives of one product."""


@dataclass(frozen=True)
class Span:
    """Training steps of one network under one set of masks.

    Attributes:
        examples: The examples that the steps have seen; one that is seen twice counts twice.
        macs: The MACs of one example in a forward pass, by the weights that can act under the masks.
        dense_gradients: The examples of these for which the gradients of all weights, also of removed ones,
            were computed in place of those of the kept ones.
        forward_only: The examples that had a forward pass and no backward pass, beyond `examples`.
    """

    examples: int
    macs: int
    dense_gradients: int = 0
    forward_only: int = 0

    def total(self, dense_macs: int) -> int:
        """Return the MACs of all steps; one with dense gradients costs two sparse passes and a dense one."""
        dense = self.dense_gradients * (dense_macs - self.macs)
        return (STEP * self.examples + self.forward_only) * self.macs + dense


def cost_of(
    spans: Iterable[Span],
    pruning: float,
    *,
    examples: int,
    dense_macs: int,
    uncounted: str | None = None,
) -> Cost:
    """Return the cost of a cell in units of one dense training.

    Args:
        spans: All trainings of the cell, of every level.
        pruning: The forward passes of one example of the dense network that all prunings cost, as
            `PassCounter` counts them.
        examples: The examples that one training of the recipe sees.
        dense_macs: The MACs of one example in a forward pass of the dense network.
        uncounted: The layer whose MACs cannot be counted, if there is one.

    Example:
        >>> steps = [Span(examples=600, macs=40), Span(examples=600, macs=10)]
        >>> cost_of(steps, pruning=180, examples=600, dense_macs=40).total
        1.35
    """
    reason = f"cannot count the multiply-accumulates of layer {uncounted!r}" if uncounted else None
    if not reason and not dense_macs:
        reason = "the dense network multiplies by no weight on a path from input to output"
    if not reason and not examples:
        reason = "the recipe trains no step, and a dense training is the unit"
    if reason:
        return Cost(not_counted=reason)
    unit = STEP * examples * dense_macs
    training = sum(span.total(dense_macs) for span in spans) / unit
    return Cost(
        training=training,
        pruning=pruning / (STEP * examples),
        total=training + pruning / (STEP * examples),
        dense_macs=dense_macs,
        examples=examples,
    )


class PassCounter:
    """The MACs of passes through layers of networks, forward and backward, while `counting` is active.

    Layers count as dense, whatever masks have removed: scores are computed of all weights. A layer's
    backward pass costs twice its forward pass. A backward pass through a recorded backward pass costs six
    times the forward pass: two for each of its three products.

    Attributes:
        macs: The MACs so far.
    """

    def __init__(self) -> None:
        self.macs = 0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the passes of all layers, of any network, in this context."""
        handle = register_module_forward_hook(self._after, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()
            # `remove` leaves this entry, with which torch calls every module in a slower way.
            _global_forward_hooks_with_kwargs.pop(handle.id, None)

    def passes(self, model: nn.Module, uses: Uses) -> float:
        """Return the MACs as forward passes of one example of the dense network `model`.

        Args:
            model: The network.
            uses: The number of uses of each weight tensor, from `uses_of_weights`.
        """
        whole = count_macs(model, uses, {})
        return self.macs / whole if whole else 0.0

    def _after(self, module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        if tensors_of(module) is None:
            return
        macs = sum(
            count_macs(module, {tensor: count}, {})
            for tensor, count in uses_in_call(module, inputs, named, output)
        )
        self.macs += macs
        outputs = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor) and leaf.requires_grad]
        if outputs:
            register_multi_grad_hook(outputs, self._backward(macs), mode="any")

    def _backward(self, macs: int) -> Any:
        def of_gradient(_gradient: Tensor) -> None:
            self.macs += 2 * _BACKWARD * macs

        def of_output(gradient: Tensor) -> None:
            self.macs += _BACKWARD * macs
            if gradient.requires_grad:  # a backward pass that is recorded, to be differentiated
                register_multi_grad_hook([gradient], of_gradient, mode="any")

        return of_output


@torch.no_grad()
def uncounted_layer(model: nn.Module, uses: Uses, example: Any) -> str | None:
    """Return the name of a parameter that the network multiplies by outside of known layers, if there is one.

    Args:
        model: The network; it is left as it is.
        uses: The number of uses of each weight tensor, from `uses_of_weights`.
        example: An input (1, ...).
    """
    matrices = {name: tensor for name, tensor in model.named_parameters() if tensor.dim() > 1}
    if matrices.keys() <= uses.keys():
        return None
    products = _Products(matrices)
    layers = [module for module in model.modules() if tensors_of(module) is not None]
    with ExitStack() as stack:
        for layer in layers:
            stack.callback(layer.register_forward_pre_hook(products.enter).remove)
            stack.callback(layer.register_forward_hook(products.leave).remove)
        stack.enter_context(in_mode(model, training=False))
        stack.enter_context(plain_attention())
        stack.enter_context(products)
        model(example)
    return products.found


_PRODUCTS = frozenset(
    f"aten::{name}"
    for name in (
        "mm",
        "addmm",
        "bmm",
        "baddbmm",
        "addbmm",
        "mv",
        "addmv",
        "dot",
        "vdot",
        "linear",
        "convolution",
    )
)


class _Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Finds a product outside of known layers with a factor that is computed of parameters alone."""

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: str | None = None
        self._depth = 0
        self._names = {id(tensor): name for name, tensor in parameters.items()}
        self._kept: list[Any] = []

    def enter(self, *_: Any) -> None:
        self._depth += 1

    def leave(self, *_: Any) -> None:
        self._depth -= 1

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Follow what is computed of parameters alone."""
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        names = [self._names[id(tensor)] for tensor in tensors if id(tensor) in self._names]
        if not names or self._depth:
            return result
        if func._schema.name in _PRODUCTS:
            self.found = self.found or names[0]
        elif len(names) == len(tensors):
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._names[id(leaf)] = names[0]
                    self._kept.append(leaf)  # an id is reused once its object is gone
        return result
