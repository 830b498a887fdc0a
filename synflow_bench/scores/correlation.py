"""Rank correlations of network scores with recorded accuracies of dense networks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

from synflow_bench.leaderboard.statistics import mean
from synflow_bench.records import Result
from synflow_bench.suites import canonical

FEWEST = 3
"""The number of networks below which a rank correlation says nothing."""

Scores = Mapping[str, Mapping[str, float | None]]
"""Scores by network and method."""


@dataclass(frozen=True)
class Correlation:
    """The rank correlations of scores with the accuracies of one dataset and recipe.

    Attributes:
        dataset: The dataset.
        networks: The networks that have both, with their mean test accuracies over seeds.
        methods: Spearman's correlation by method; None where too few networks have a score.
    """

    dataset: str
    networks: Mapping[str, float]
    methods: Mapping[str, float | None]


def correlations(scores: Scores, results: Iterable[Result]) -> list[Correlation]:
    """Correlate scores with the recorded accuracies of dense networks, setting by setting.

    Settings that differ in the network alone are one; those with fewer than three networks are left out.
    """
    found = []
    for dataset, accuracies in _dense_accuracies(results):
        networks = {name: accuracy for name, accuracy in accuracies.items() if name in scores}
        if len(networks) < FEWEST:
            continue
        methods = dict.fromkeys(method for name in networks for method in scores[name])
        by_method = {method: _correlation(method, scores, networks) for method in methods}
        found.append(Correlation(dataset, networks, by_method))
    return found


def _correlation(method: str, scores: Scores, networks: Mapping[str, float]) -> float | None:
    pairs = [
        (value, accuracy)
        for name, accuracy in networks.items()
        if (value := scores[name].get(method)) is not None
    ]
    return rank_correlation([value for value, _ in pairs], [accuracy for _, accuracy in pairs])


def _dense_accuracies(results: Iterable[Result]) -> list[tuple[str, dict[str, float]]]:
    """Return the mean test accuracies of dense networks without options, by dataset and recipe."""
    groups: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        cell, setting = result.cell, result.cell.setting
        if cell.is_dense and result.metrics and not setting.model.options:
            shared = canonical(setting.model_dump(mode="json", exclude={"model", "pruning"}))
            groups[setting.dataset_label, shared][setting.model.name].append(result.metrics.test_top1)
    return [
        (dataset, {name: mean(values) for name, values in sorted(networks.items())})
        for (dataset, _), networks in sorted(groups.items())
    ]


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rank correlation; None for fewer than three pairs, or where one side is constant.

    Example:
        >>> rank_correlation([1, 2, 3, 4], [10, 20, 40, 30])
        0.8
    """
    if len(one) < FEWEST or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    a, b = _centered_ranks(one), _centered_ranks(other)
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def _centered_ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value less the mean rank; equal values share the mean of their ranks."""
    ordered = sorted(values)
    middle = (len(values) - 1) / 2
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 - middle for value in values]
