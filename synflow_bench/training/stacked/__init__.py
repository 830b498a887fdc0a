"""Several small networks of one shape, trained as one batch of matrix products.

A step of a small network is mostly the cost of calling its operations. Networks that differ only in their
weights, masks and data share those calls, and every number of each is what it would be in a stack of one.
"""

from synflow_bench.training.stacked._exact import is_exact
from synflow_bench.training.stacked._layers import is_stackable
from synflow_bench.training.stacked._network import StackedNetwork
from synflow_bench.training.stacked._survivors import Survivors

__all__ = ["StackedNetwork", "Survivors", "is_exact", "is_stackable"]
