"""What is measured of a masked network beside its accuracy."""

from synflow_bench.metrics._compression import Size, measure_size
from synflow_bench.metrics._macs import uses_of_weights

__all__ = ["Size", "measure_size", "uses_of_weights"]
