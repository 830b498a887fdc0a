"""The cost of a cell of synflow-2020 against numbers by hand, and the orders of cells."""

from __future__ import annotations

import pytest
from simulate_cluster import ORDERS, flops_of, macs_of, ordered

from synflow_bench.host import Host
from synflow_bench.suites import Suite


def test_operations_of_vgg11_on_cifar10() -> None:
    host = Host.load()
    suite: Suite = host.suites.get("synflow-2020")
    (setting,) = (s for s in suite.settings if (s.dataset, s.model.name) == ("cifar10", "lottery/vgg11-bn"))
    convolutions = [
        (3, 64, 32), (64, 128, 16), (128, 256, 8), (256, 256, 8), (256, 512, 4), (512, 512, 4),
        (512, 512, 2), (512, 512, 2),
    ]  # fmt: skip
    macs = sum(9 * before * after * side**2 for before, after, side in convolutions) + 512 * 10
    assert macs_of(setting, host) == macs
    passes = 3 * 50_000 + 10_000
    assert flops_of(setting, macs, host) == pytest.approx(2 * macs * passes * 160)


def test_orders_are_of_the_same_cells() -> None:
    lengths = [3.0, 1.0, 2.0, 2.0]
    assert all(sorted(ordered(lengths, order, 0)) == sorted(lengths) for order in ORDERS)
    assert ordered(lengths, "longest first", 0) == [3.0, 2.0, 2.0, 1.0]
    assert ordered(lengths, "as in the suite", 0) == lengths
    assert ordered(lengths, "at random", 5) == ordered(lengths, "at random", 5)
