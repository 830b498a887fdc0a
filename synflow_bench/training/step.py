"""How the optimizer steps of trainings are computed: of one network, or of several as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from synflow_bench.suites import Recipe
from synflow_bench.training.compiled import CompiledNetwork
from synflow_bench.training.loop import Batch, Training
from synflow_bench.training.masking import MaskedWeights
from synflow_bench.training.optimizers import build_optimizer, set_learning_rate
from synflow_bench.training.precision import Precision
from synflow_bench.training.stacked import StackedNetwork, Survivors


class Step(Protocol):
    """Takes one batch a training and returns their mean losses, still on the device."""

    @property
    def masked(self) -> Sequence[MaskedWeights]:
        """The masked weights of every training."""

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """Forward, backward, mask gradients, clip, optimize."""


@dataclass(frozen=True)
class TrainingStep:
    """The step of one network, whatever its layers; where it is `compiled`, nothing else of the step is."""

    model: nn.Module
    optimizer: Optimizer
    masked: Sequence[MaskedWeights]
    recipe: Recipe
    precision: Precision
    compiled: CompiledNetwork | None = None

    @classmethod
    def of(cls, training: Training) -> Self:
        """Lay out the network as the recipe says, with a fresh optimizer.

        Raises `SuiteError` where the recipe asks for what its device does not have.
        """
        model, recipe, compiled = training.model, training.recipe, CompiledNetwork.of(training)
        precision = Precision.of(recipe, next(model.parameters()).device)
        precision.lay_out(model)
        masked = [MaskedWeights(model, training.masks)]
        return cls(model, build_optimizer(recipe, model.parameters()), masked, recipe, precision, compiled)

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """`batches` has one."""
        (batch,) = batches
        set_learning_rate(self.optimizer, batch.lr)
        network = self.model if self.compiled is None else self.compiled
        with self.precision.autocast():
            logits = network(self.precision.laid_out(batch.inputs))
        loss = cross_entropy(logits.float(), batch.labels, label_smoothing=self.recipe.label_smoothing)
        loss.backward()  # type: ignore[no-untyped-call]
        self.masked[0].mask_gradients()
        if self.recipe.gradient_clip is not None:
            clip_grad_norm_(self.model.parameters(), self.recipe.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return [loss.detach()]


class StackedStep:
    """The step of several small networks as one; each gets what it would get in a stack of its own."""

    def __init__(self, trainings: Sequence[Training]) -> None:
        self._recipe = trainings[0].recipe
        self._models = [training.model for training in trainings]
        self.masked = [MaskedWeights(training.model, training.masks) for training in trainings]
        self._network = StackedNetwork(self._models)
        self._masks = self._network.storage.spread([training.masks for training in trainings])
        self._survivors = Survivors(self._network.storage, self._masks)
        self._optimizer = build_optimizer(self._recipe, [self._survivors.values])

    def __call__(self, batches: Sequence[Batch]) -> Sequence[Tensor]:
        """`batches` has one for every network, all of one size."""
        set_learning_rate(self._optimizer, batches[0].lr)
        logits = self._network(torch.stack([batch.inputs for batch in batches]))
        losses = [
            cross_entropy(row, batch.labels, label_smoothing=self._recipe.label_smoothing)
            for row, batch in zip(logits.unbind(), batches, strict=True)
        ]
        torch.autograd.backward(losses)
        if self._recipe.gradient_clip is not None:
            self._network.storage.gradients.mul_(self._masks)
            for model in self._models:
                clip_grad_norm_(model.parameters(), self._recipe.gradient_clip)
        self._survivors.gather()
        self._optimizer.step()
        self._survivors.scatter()
        return [loss.detach() for loss in losses]

    def release(self) -> None:
        """Give every network parameters of its own again."""
        self._network.storage.release()
