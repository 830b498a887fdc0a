"""Suites, settings, recipes and cells: what to run, as validated values. Imports no torch."""

from synflow_bench.errors import DENSE
from synflow_bench.suites.cell import (
    Ablation,
    Cell,
    CellTitles,
    Purpose,
    Revisions,
    compression_of_sparsity,
    dense_cell,
    seed_of,
)
from synflow_bench.suites.override import override
from synflow_bench.suites.protocol import PROTOCOL_NAMES, Finetune, Multishot, Protocol, Singleshot
from synflow_bench.suites.recipe import Recipe
from synflow_bench.suites.rows import PrunerRow
from synflow_bench.suites.setting import (
    GRANULARITIES,
    PATTERN_TOLERANCE,
    Biases,
    GroupScore,
    PruningOptions,
    Scope,
    Setting,
)
from synflow_bench.suites.spec import (
    ModelSpec,
    PrunerSpec,
    Scalar,
    dataset_label,
    expand_pruners,
    label_of,
    parse_dataset,
    parse_pruner,
    read_text,
    read_toml_value,
)
from synflow_bench.suites.suite import (
    MOST_REPETITIONS,
    Suite,
    expand,
    load_suite,
    validate,
    validation_message,
)
from synflow_bench.suites.tuning import Tuning, read_tuning
from synflow_bench.suites.values import Count, Positive, canonical

__all__ = [
    "DENSE",
    "GRANULARITIES",
    "MOST_REPETITIONS",
    "PATTERN_TOLERANCE",
    "PROTOCOL_NAMES",
    "Ablation",
    "Biases",
    "Cell",
    "CellTitles",
    "Count",
    "Finetune",
    "GroupScore",
    "ModelSpec",
    "Multishot",
    "Positive",
    "Protocol",
    "PrunerRow",
    "PrunerSpec",
    "PruningOptions",
    "Purpose",
    "Recipe",
    "Revisions",
    "Scalar",
    "Scope",
    "Setting",
    "Singleshot",
    "Suite",
    "Tuning",
    "canonical",
    "compression_of_sparsity",
    "dataset_label",
    "dense_cell",
    "expand",
    "expand_pruners",
    "label_of",
    "load_suite",
    "override",
    "parse_dataset",
    "parse_pruner",
    "read_text",
    "read_toml_value",
    "read_tuning",
    "seed_of",
    "validate",
    "validation_message",
]
