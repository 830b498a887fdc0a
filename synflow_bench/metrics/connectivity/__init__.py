"""Which units of a network feed which: one traced description, and what masks leave of it."""

from synflow_bench.metrics.connectivity._graph import (
    NOTHING,
    Attachment,
    Connection,
    Connectivity,
    Link,
    NotFollowed,
    View,
)
from synflow_bench.metrics.connectivity._reach import Reach, effective_masks, reach
from synflow_bench.metrics.connectivity._trace import trace

__all__ = [
    "NOTHING",
    "Attachment",
    "Connection",
    "Connectivity",
    "Link",
    "NotFollowed",
    "Reach",
    "View",
    "effective_masks",
    "reach",
    "trace",
]
