"""Pruning: a pruner scores the weights of a problem, and the harness makes masks of exact density."""

from synflow_bench.errors import NotDefinedError
from synflow_bench.pruning.granularity import groups_of
from synflow_bench.pruning.groups import Groups, ScoreGroups
from synflow_bench.pruning.in_training import (
    MaskUpdate,
    TrainingPruner,
    density_after,
    first_values,
    update_masks,
    update_steps,
)
from synflow_bench.pruning.interface import (
    Inputs,
    check_network,
    copy_network,
    gradients_enabled,
    in_eval_mode,
    map_examples,
    size_of,
)
from synflow_bench.pruning.library import prune
from synflow_bench.pruning.masks import Masks
from synflow_bench.pruning.problem import Examples, Loss, Problem, Score
from synflow_bench.pruning.prunable import ResidualScale, is_bias, prunable_parameters
from synflow_bench.pruning.pruner import Pruner, Schedule, densities, resolve_pruner
from synflow_bench.pruning.rounds import Pruned, random_inputs, random_labels, run_pruner, shuffle_masks
from synflow_bench.pruning.score_checks import PrecisionError
from synflow_bench.pruning.selection import apportion, keep_largest, kept_count, round_shares, select
from synflow_bench.pruning.weight_norm import allow_removed_units, loadable_state

__all__ = [
    "Examples",
    "Groups",
    "Inputs",
    "Loss",
    "MaskUpdate",
    "Masks",
    "NotDefinedError",
    "PrecisionError",
    "Problem",
    "Pruned",
    "Pruner",
    "ResidualScale",
    "Schedule",
    "Score",
    "ScoreGroups",
    "TrainingPruner",
    "allow_removed_units",
    "apportion",
    "check_network",
    "copy_network",
    "densities",
    "density_after",
    "first_values",
    "gradients_enabled",
    "groups_of",
    "in_eval_mode",
    "is_bias",
    "keep_largest",
    "kept_count",
    "loadable_state",
    "map_examples",
    "prunable_parameters",
    "prune",
    "random_inputs",
    "random_labels",
    "resolve_pruner",
    "round_shares",
    "run_pruner",
    "select",
    "shuffle_masks",
    "size_of",
    "update_masks",
    "update_steps",
]
