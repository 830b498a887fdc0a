"""What is measured of a masked network beside its accuracy."""

from synflow_bench.metrics._compression import Size, measure_size
from synflow_bench.metrics._macs import uses_of_weights
from synflow_bench.metrics.connectivity import Connectivity, NotFollowed, trace

__all__ = ["Connectivity", "NotFollowed", "Size", "measure_size", "trace", "uses_of_weights"]
