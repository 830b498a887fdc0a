"""Suites, settings, recipes and cells: what to run, as validated values. Imports no torch."""

from synflow_bench.names import DENSE, NAME_RULE, is_plain_name
from synflow_bench.suites._canonical import canonical, digest
from synflow_bench.suites._cell import Ablation, Cell, Revisions, dense_cell
from synflow_bench.suites._expand import expand
from synflow_bench.suites._load import faults, load_suite, validate
from synflow_bench.suites._model import Count, Positive, Value
from synflow_bench.suites._override import override
from synflow_bench.suites._protocol import Multishot, Protocol, Rewind, Singleshot
from synflow_bench.suites._recipe import Recipe
from synflow_bench.suites._seeds import Purpose, seed_of
from synflow_bench.suites._setting import PruningOptions, Scope, Setting
from synflow_bench.suites._spec import ModelSpec, PrunerSpec, Scalar, label_of, parse_pruner, read_scalar
from synflow_bench.suites._suite import Suite
from synflow_bench.suites._sweep import expand_pruners

__all__ = [
    "DENSE",
    "NAME_RULE",
    "Ablation",
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
    "Rewind",
    "Scalar",
    "Scope",
    "Setting",
    "Singleshot",
    "Suite",
    "Value",
    "canonical",
    "dense_cell",
    "digest",
    "expand",
    "expand_pruners",
    "faults",
    "is_plain_name",
    "label_of",
    "load_suite",
    "override",
    "parse_pruner",
    "read_scalar",
    "seed_of",
    "validate",
]
