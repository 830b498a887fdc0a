"""The magnitude of GraSP's scores."""

from __future__ import annotations

from torch import Tensor

from synflow_bench import Problem
from synflow_bench_pruners.grasp import Grasp


class GraspAbs(Grasp):
    """Score |w (H g)|: weights whose removal changes the norm of the gradient most, up or down, are kept.

    H g as in `grasp`: g and H g over the same scoring set in eval mode, logits divided by `temperature`, 200.
    The signed score is that of Wang, Zhang, Grosse, 2020, arXiv 2002.07376.
    Frankle, Dziugaite, Roy, Carbin, "Pruning Neural Networks at Initialization: Why are We Missing the
    Mark?", 2021, arXiv 2009.08576, who find it better than the signed score at low compression.
    """

    def score(self, problem: Problem) -> dict[str, Tensor]:
        """The size of the change of the gradient's norm, to first order."""
        return {name: score.abs_() for name, score in super().score(problem).items()}
