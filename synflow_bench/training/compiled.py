"""The network of a training step through torch's compiler, which is loaded only where a recipe asks."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from synflow_bench.errors import SuiteError
from synflow_bench.training.loop import Training


class CompiledNetwork:
    """A network compiled for batches of one size, and with `graphs` recorded as CUDA graphs.

    Parameters and buffers are those of the network. Batches of another size, such as the smaller last one of
    an epoch, go through the network itself: compiling again takes longer than that saves.
    """

    def __init__(self, model: nn.Module, batch_size: int, *, graphs: bool) -> None:
        self._model, self._batch_size, self._graphs = model, batch_size, graphs
        # Earlier networks of a process count: after a few, the compiler would leave this one as it is.
        torch.compiler.reset()
        self._compiled = torch.compile(model, dynamic=False, mode="reduce-overhead" if graphs else "default")

    @classmethod
    def of(cls, training: Training) -> Self | None:
        """The network of `training` as its recipe says; None where that is not to compile it.

        Raises `SuiteError` for CUDA graphs on a device that has none.
        """
        recipe, device = training.recipe, next(training.model.parameters()).device
        if recipe.compile == "no":
            return None
        graphs = recipe.compile == "cuda-graphs"
        if graphs and device.type != "cuda":
            raise SuiteError(
                f"compile 'cuda-graphs' has no effect on device {device.type!r}; take compile = 'yes', or a "
                "CUDA device"
            )
        batch_size = min(recipe.batch_size, len(training.examples.train))
        return cls(training.model, batch_size, graphs=graphs)

    def __call__(self, inputs: Tensor) -> Tensor:
        """The logits of `inputs` (N, C, H, W)."""
        network = self._compiled if len(inputs) == self._batch_size else self._model
        if self._graphs:
            # What the last step has returned may be written over: it is done with.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        logits: Tensor = network(inputs)
        return logits
