"""Granularity: what a network has of the groups of weights that are kept or removed together."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from synflow_bench.errors import ModelError
from synflow_bench.graph import Graph, Untraceable
from synflow_bench.pruning.channels import channel_labels
from synflow_bench.pruning.groups import Groups, WholeGroups
from synflow_bench.pruning.rows import FanIn, Patterns
from synflow_bench.pruning.units import UnitMatrix, unit_matrices
from synflow_bench.suites import PruningOptions


def groups_of(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    options: PruningOptions,
    graph: Callable[[], Graph | Untraceable],
) -> Groups | None:
    """Find the groups of weights of a network.

    Args:
        model: The network.
        parameters: Its prunable parameters.
        options: The options, among them the granularity.
        graph: Returns the graph of the network; called for channels only.

    Returns:
        The groups; None for granularity `weight`.

    Raises:
        ModelError: The network has no such groups.

    Example:
        >>> from torch import nn
        >>> model = nn.Linear(8, 3)
        >>> options = PruningOptions(granularity="2:4")
        >>> from synflow_bench.pruning import Masks
        >>> groups = groups_of(model, {"weight": model.weight}, options, lambda: Untraceable(""))
        >>> scores = {"weight": model.weight.detach().abs()}
        >>> selection = groups.select(scores, Masks.ones(scores), 0.5, "global", invert=False)
        >>> selection.masks["weight"].view(3, 2, 4).sum(-1).tolist()
        [[2, 2], [2, 2], [2, 2]]
    """
    name = options.granularity
    if name == "weight":
        return None
    if name == "channel":
        found = graph()
        if isinstance(found, Untraceable):
            raise ModelError(f"granularity 'channel' follows the graph of the network; {found.reason}")
        labels, classes = channel_labels(parameters, found)
        rest = [each for each in parameters if each not in labels]
        whole = dict.fromkeys(rest, "none of the channels can be removed")
        groups: Groups = WholeGroups(name, whole, labels, classes, options.group_score)
    else:
        matrices = unit_matrices(model, parameters)
        if name == "kernel":
            labels, classes = _kernel_labels(parameters, matrices)
            groups = WholeGroups(name, {}, labels, classes, options.group_score)
        elif options.pattern:
            groups = _patterns(name, parameters, matrices, *options.pattern)
        else:
            rest = [each for each in parameters if each not in matrices]
            groups = FanIn(name, dict.fromkeys(rest, "there are no units with incoming weights"), matrices)
    if len(groups.whole) == len(parameters) or (name == "kernel" and not _has_kernels(matrices)):
        reason = next(iter(groups.whole.values()), "no kernel has more than one weight")
        raise ModelError(
            f"granularity {name!r} has no groups in {type(model).__name__}: {reason}; take another one"
        )
    return groups


def _has_kernels(matrices: Mapping[str, UnitMatrix]) -> bool:
    return any(matrix.taps > 1 for matrix in matrices.values())


def _kernel_labels(
    parameters: Mapping[str, Tensor], matrices: Mapping[str, UnitMatrix]
) -> tuple[dict[str, tuple[Tensor, ...]], Tensor]:
    """Number the kernels of all tensors; every entry of a tensor without kernels is one of its own."""
    labels: dict[str, tuple[Tensor, ...]] = {}
    classes, start = [], 0
    for place, (name, parameter) in enumerate(parameters.items()):
        shape = list(parameter.shape)
        if name in matrices and matrices[name].taps > 1:
            shape[2:] = [1] * len(shape[2:])
        count = torch.Size(shape).numel()
        labels[name] = (torch.arange(start, start + count).view(shape),)
        classes.append(torch.full((count,), place))
        start += count
    return labels, torch.cat(classes)


def _patterns(
    name: str, parameters: Mapping[str, Tensor], matrices: Mapping[str, UnitMatrix], n: int, m: int
) -> Patterns:
    whole = {}
    for each, parameter in parameters.items():
        if each not in matrices:
            whole[each] = "there are no units with incoming weights"
        elif matrices[each].of(parameter).shape[1] % m:
            whole[each] = f"the number of inputs is no multiple of {m}"
    divided = {each: matrix for each, matrix in matrices.items() if each not in whole}
    return Patterns(name, whole, divided, n, m)
