"""What is added to a unit whatever reaches it, and stays when every path to the unit is pruned."""

from __future__ import annotations

from synflow_bench import Problem


def is_unprunable_bias(problem: Problem, name: str) -> bool:
    """Whether parameter `name` is the bias of a layer, or the shift of a batch norm, that no mask covers."""
    return name.rpartition(".")[2] == "bias" and name not in problem.parameters
