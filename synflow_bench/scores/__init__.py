"""Scores of networks at initialization: zero-cost proxies, and their correlation with recorded accuracies."""

from synflow_bench.scores.correlation import Correlation, correlations, rank_correlation
from synflow_bench.scores.methods import METHODS, SMOOTHING, NoScoreError, ScoredNetwork
from synflow_bench.scores.scoring import EXAMPLES, check_methods, score
from synflow_bench.scores.wide_range import WideTensor, log2_of_sum

__all__ = [
    "EXAMPLES",
    "METHODS",
    "SMOOTHING",
    "Correlation",
    "NoScoreError",
    "ScoredNetwork",
    "WideTensor",
    "check_methods",
    "correlations",
    "log2_of_sum",
    "rank_correlation",
    "score",
]
