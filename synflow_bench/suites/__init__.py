"""Suites, settings, recipes and cells: what to run, as validated values. Imports no torch."""

from synflow_bench.errors import DENSE
from synflow_bench.suites.cell import (
    Ablation,
    Cell,
    Purpose,
    Revisions,
    compression_of_sparsity,
    dense_cell,
    seed_of,
)
from synflow_bench.suites.override import override
from synflow_bench.suites.setting import (
    Biases,
    Multishot,
    Protocol,
    PruningOptions,
    Recipe,
    Scope,
    Setting,
    Singleshot,
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
from synflow_bench.suites.values import Count, Positive, canonical

__all__ = [
    "DENSE",
    "MOST_REPETITIONS",
    "Ablation",
    "Biases",
    "Cell",
    "Count",
    "ModelSpec",
    "Multishot",
    "Positive",
    "Protocol",
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
    "seed_of",
    "validate",
    "validation_message",
]
