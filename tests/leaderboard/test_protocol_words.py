"""How a board says which protocol its cells followed."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.leaderboard._words import summary
from synflow_bench.suites import ModelSpec, Multishot, Protocol, Recipe, Setting, Singleshot


@pytest.mark.parametrize(
    ("protocol", "words"),
    [
        (Singleshot(), "pruned at initialization"),
        (Singleshot(pre_epochs=1), "pruned after 1 epoch"),
        (Multishot(levels=5), "pruned in 5 levels of 9 epochs, weights rewound to initialization"),
        (Multishot(levels=1, rewind=500), "pruned in 1 level of 9 epochs, weights rewound to step 500"),
        (
            Multishot(levels=3, rewind="lr", pre_epochs=2),
            "pruned in 3 levels of 2 epochs, learning rate rewound",
        ),
    ],
)
def test_the_summary_tells_levels_and_rewinding(protocol: Protocol, words: str) -> None:
    recipe: dict[str, Any] = {"epochs": 9}
    setting = Setting(dataset="d", model=ModelSpec(name="m"), recipe=Recipe(**recipe), protocol=protocol)
    assert f", {words}, global scope" in summary(setting)
