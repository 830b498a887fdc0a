"""Exact shrinking: what cannot influence the output is taken out for training, and put back after."""

from synflow_bench.shrinking._check import Masked
from synflow_bench.shrinking._shrunk import SHRINK_VARIABLE, Shrunk, shrink

__all__ = ["SHRINK_VARIABLE", "Masked", "Shrunk", "shrink"]
