"""Pruning: a pruner scores the weights of a problem, the harness makes masks of exact density."""

from synflow_bench.pruning._ablations import random_inputs, random_labels, shuffle_masks
from synflow_bench.pruning._library import prune
from synflow_bench.pruning._masks import Masks
from synflow_bench.pruning._problem import Examples, Loss, Problem
from synflow_bench.pruning._prunable import prunable_parameters
from synflow_bench.pruning._pruner import Pruner, resolve_pruner
from synflow_bench.pruning._residual import ResidualScale
from synflow_bench.pruning._run import Pruned, run_pruner
from synflow_bench.pruning._schedules import Schedule, densities
from synflow_bench.pruning._selection import apportion, count, select, whole

__all__ = [
    "Examples",
    "Loss",
    "Masks",
    "Problem",
    "Pruned",
    "Pruner",
    "ResidualScale",
    "Schedule",
    "apportion",
    "count",
    "densities",
    "prunable_parameters",
    "prune",
    "random_inputs",
    "random_labels",
    "resolve_pruner",
    "run_pruner",
    "select",
    "shuffle_masks",
    "whole",
]
