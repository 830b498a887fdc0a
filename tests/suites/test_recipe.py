"""What a recipe accepts: nothing that would have no effect, and all faults told together."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from synflow_bench.errors import SuiteError
from synflow_bench.suites import Recipe, validate

STEP = {"schedule": "step", "milestones": [2, 4]}


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        (
            {"optimizer": "adam", "momentum": 0.5},
            "momentum has no effect with optimizer 'adam'; leave it out",
        ),
        ({"optimizer": "sgd", "momentum": 0.5}, "momentum has no effect with optimizer 'sgd'"),
        ({"milestones": [2]}, "milestones has no effect with schedule 'constant'; leave it out"),
        ({"schedule": "cosine", "gamma": 0.5}, "gamma has no effect with schedule 'cosine'"),
        ({"schedule": "step"}, "schedule 'step' needs milestones, such as milestones = [60, 120]"),
        ({"schedule": "step", "milestones": [4, 2]}, "milestones must rise: [4, 2]"),
        ({"schedule": "step", "milestones": [2, 2]}, "milestones must rise: [2, 2]"),
        ({"warmup_epochs": 6}, "warmup_epochs 6 exceeds epochs 5"),
        ({"lr": 0}, "lr: input should be greater than 0 (given 0)"),
        ({"lr": float("nan")}, "lr: input should be a finite number (given nan)"),
        (
            {"optimizer": "adma"},
            "optimizer: input should be 'sgd', 'momentum', 'adam' or 'rmsprop' (given 'adma')",
        ),
        ({"learning_rate": 1}, "learning_rate: no such field"),
        ({"compile": True}, "compile: input should be 'no', 'yes' or 'cuda-graphs' (given True)"),
        ({"epochs": 2.5}, "epochs: "),
    ],
)
def test_refuses(fields: dict[str, Any], fault: str) -> None:
    with pytest.raises(SuiteError) as error:
        validate(Recipe, {"epochs": 5, **fields}, "recipe")
    assert fault in str(error.value)


def test_tells_all_that_has_no_effect_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        Recipe(epochs=1, optimizer="adam", momentum=0.5, gamma=0.5, milestones=(1,), warmup_epochs=2)
    for word in ("momentum has", "gamma has", "milestones has", "warmup_epochs 2"):
        assert word in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [{}, STEP, {"optimizer": "adam"}, {"optimizer": "momentum", "momentum": 0.5}, {"compile": "cuda-graphs"}],
)
def test_what_it_writes_it_reads(fields: dict[str, Any]) -> None:
    recipe = Recipe.model_validate({"epochs": 5, **fields})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_a_default_that_is_written_out_is_no_fault() -> None:
    assert Recipe(epochs=1, optimizer="adam", momentum=0.9) == Recipe(epochs=1, optimizer="adam")


def test_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Recipe(epochs=1).epochs = 2  # type: ignore[misc]
