"""Edge-popup: learn the masks of a network whose weights are never trained."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi, sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

from synflow_bench import Masks, MaskUpdate, Problem, TrainingPruner
from synflow_bench.errors import UsageError
from synflow_bench.pruning import select


class EdgePopup(TrainingPruner):
    """Edge-popup: learn the masks of weights that stay random.

    Every weight w has a score s, drawn uniformly from +-1 / sqrt(fan in). In each layer the weights with the
    largest |s| are kept. A step changes the scores alone, by the straight-through gradient
    dL/ds = dL/d(w m) w sign(s), where m is the mask: gradients of removed edges count too, and an edge that
    pops up has its random weight again. Biases and scales of norms keep their first values as well.

    Paper: Ramanujan, Wortsman, Kembhavi, Farhadi, Rastegari, "What's Hidden in a Randomly Weighted Neural
    Network?", 2020, arXiv 1911.13299, whose scores are trained by SGD with momentum 0.9, weight decay 1e-4
    and a learning rate from 0.1 to zero by a cosine, and whose best weights are +-sqrt(2 / fan in)
    (`signed-constant`). The signs are those of the network's own weights.

    The recipe's optimizer has nothing to train: only its epochs, batches and augmentation matter. In the
    official code (allenai/hidden-networks) networks have no biases and norms no scales, each layer keeps its
    density rounded up, and the learning rate changes with the epoch; here the numbers of all layers sum to
    the exact one, and the rate changes with every step.

    Args:
        init: The weights: `signed-constant`, or those of the `network`.
        lr: The first learning rate of the scores.
        momentum: The momentum of their SGD.
        weight_decay: The weight decay of the scores.
    """

    needs_data: ClassVar[bool] = False
    needs_forward: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = True
    every: int = 0
    until: float = 1.0
    init: Literal["signed-constant", "network"] = "signed-constant"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.rounds, self.every, self.until) != (1, 0, 1.0):
            raise UsageError("edge-popup changes its masks at every step; leave out rounds, every and until")
        if not (self.lr > 0 and 0 <= self.momentum < 1 and self.weight_decay >= 0):
            raise UsageError("edge-popup needs lr > 0, momentum in [0, 1) and weight_decay >= 0")

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """Return the size of the scores that are drawn at first."""
        scores = draw_scores(problem.parameters, problem.generator.initial_seed())
        return {name: score.abs() for name, score in scores.items()}

    def prune(self, problem: Problem, density: float) -> Masks:
        """Keep the largest first scores of every layer."""
        scores = self.score(problem)
        return select(scores, problem.masks, density, "local").masks

    def initial(self, weights: Mapping[str, Tensor], density: float) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return the weights that are never trained."""
        if self.init == "network":
            return weights
        return {name: w.sign() * sqrt(2 / fan_in(w)) if w.dim() > 1 else w for name, w in weights.items()}

    def due(self, steps: int, steps_per_epoch: int) -> range:  # noqa: ARG002
        """Return all steps: each takes the place of an optimizer step."""
        return range(steps)

    def update(self, update: MaskUpdate) -> Masks:
        """Take one step of SGD for the scores, and keep the largest in every layer."""
        state = update.state
        if not state:
            scores = draw_scores(update.weights, update.seed)
            state |= {f"score/{name}": score for name, score in scores.items()}
            state |= {f"momentum/{name}": torch.zeros_like(score) for name, score in scores.items()}
        lr = self.lr / 2 * (1 + cos(pi * update.step / update.steps))
        for name, gradient in update.gradients().items():
            score, moved = state[f"score/{name}"], state[f"momentum/{name}"]
            step = gradient * update.values[name] * score.sign() + self.weight_decay * score
            state[f"momentum/{name}"] = self.momentum * moved + step
            state[f"score/{name}"] = score - lr * state[f"momentum/{name}"]
        sizes = {name: state[f"score/{name}"].abs() for name in update.masks}
        return update.keep(sizes, "local", revive=True)


def fan_in(weight: Tensor) -> int:
    """Return the number of inputs of each output of a layer; 1 for a bias."""
    return weight[0].numel()


def draw_scores(weights: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Draw scores from +-1 / sqrt(fan in), layer by layer."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: ((2 * torch.rand(w.shape, generator=generator) - 1) / sqrt(fan_in(w))).to(w)
        for name, w in weights.items()
    }
