"""Sentences about a setting: the recipe, the protocol and the pruning options."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.leaderboard.describe import describe_setting
from synflow_bench.suites import ModelSpec, Multishot, Protocol, PruningOptions, Recipe, Setting, Singleshot


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
def test_the_description_names_levels_and_rewinding(protocol: Protocol, words: str) -> None:
    recipe: dict[str, Any] = {"epochs": 9}
    setting = Setting(dataset="d", model=ModelSpec(name="m"), recipe=Recipe(**recipe), protocol=protocol)
    assert f", {words}, global scope" in describe_setting(setting)


def test_the_description_names_everything_that_differs_from_a_plain_recipe() -> None:
    recipe = Recipe(
        epochs=160,
        lr=0.1,
        weight_decay=1e-4,
        schedule="step",
        milestones=(60, 120),
        warmup_epochs=1,
        label_smoothing=0.1,
        gradient_clip=1,
        augment=False,
        precision="bf16",
        channels_last=True,
        compile="cuda-graphs",
        validation_fraction=0,
    )
    setting = Setting(
        dataset="cifar10",
        model=ModelSpec(name="lottery/resnet20", options={"residual": True}),
        recipe=recipe,
        protocol=Singleshot(pre_epochs=2),
        pruning=PruningOptions(
            scope="local",
            prune_bias=True,
            dense_classifier=True,
            examples_per_class=1,
            examples="random",
            biases="zero",
            granularity="channel",
            group_score="l2",
        ),
        root_seed=7,
    )
    assert describe_setting(setting) == (
        "160 epochs, momentum 0.9 (Nesterov), lr 0.1, batch 128, step schedule (x 0.1 at 60, 120), "
        "warm-up 1 epoch, weight decay 0.0001, label smoothing 0.1, gradient clip 1, no augmentation, bf16, "
        "channels last, compiled, CUDA graphs, validation 0 % of train, pruned after 2 epochs, local scope, "
        "channel granularity, by L2 norms, 1 example per class on average, scored without biases, "
        "biases pruned, dense classifier, "
        "model residual True, root seed 7"
    )
