"""The scaffold: a small distribution with one plugin, with tests and ready to build. Imports no torch."""

from synflow_bench.scaffold._names import Names, names_of
from synflow_bench.scaffold._write import KINDS, Kind, write_distribution

__all__ = ["KINDS", "Kind", "Names", "names_of", "write_distribution"]
