"""The graph of a network: its nodes and edges, found by tracing, and the paths that masks leave in it."""

from synflow_bench.graph.calling import call_with, unwrapped
from synflow_bench.graph.graph import (
    CONSTANT,
    Edges,
    Graph,
    LayerEdges,
    NodeValues,
    Untraceable,
    View,
)
from synflow_bench.graph.reach import Reachability, effective_masks, reachable
from synflow_bench.graph.trace import in_mode, plain_attention, trace

__all__ = [
    "CONSTANT",
    "Edges",
    "Graph",
    "LayerEdges",
    "NodeValues",
    "Reachability",
    "Untraceable",
    "View",
    "call_with",
    "effective_masks",
    "in_mode",
    "plain_attention",
    "reachable",
    "trace",
    "unwrapped",
]
