"""The presets: those that reproduce a paper agree in every field with what its authors have published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.execution import resolve_pruners
from synflow_bench.host import Host
from synflow_bench.suites import Setting, Suite

PUBLISHED = json.loads(
    (Path(__file__).parent / "published" / "synflow-2020.json").read_text(encoding="utf-8")
)
PAPER = [name for name in PUBLISHED if name.startswith("synflow-2020")]
NAMES = {"rand": "random", "mag": "magnitude"}
MODES = {False: "eval", True: "train"}


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.load()


@pytest.fixture(scope="module")
def presets(host: Host) -> dict[str, Suite]:
    return {name: host.suites.get(name) for name in host.suites.names()}


def setting_of(arguments: dict[str, Any]) -> Setting:
    """The setting that the arguments of the authors' code ask for."""
    given = {**PUBLISHED["shared"], **arguments}
    assert not given["pretrained"]
    assert not given["reinitialize"]
    drops = given["lr_drops"]
    # Their optimizer "momentum" is SGD with Nesterov momentum 0.9; all training images train.
    steps = {"schedule": "step", "milestones": drops, "gamma": given["lr_drop_rate"]} if drops else {}
    recipe = {
        "epochs": given["post_epochs"],
        "optimizer": given["optimizer"],
        "momentum": 0.9,
        "lr": given["lr"],
        "batch_size": given["train_batch_size"],
        "weight_decay": given["weight_decay"],
        "validation_fraction": 0,
        **steps,
    }
    # Scoring images are the first of a random permutation of all.
    pruning = {
        "scope": given["mask_scope"],
        "prune_bias": given["prune_bias"],
        "prune_batchnorm": given["prune_batchnorm"],
        "prune_residual": given["prune_residual"],
        "dense_classifier": given["dense_classifier"],
        "examples_per_class": given["prune_dataset_ratio"],
        "examples": "random",
    }
    initialization = given.get("initialization", "kaiming")
    name, levels = f"{given['model_class']}/{given['model']}", given.get("levels")
    return Setting.model_validate(
        {
            "dataset": given["dataset"],
            "model": name
            if initialization == "kaiming"
            else {"name": name, "options": {"initialization": initialization}},
            "recipe": recipe,
            "pruning": pruning,
            **({"protocol": {"name": "multishot", "levels": levels, "rewind": "lr"}} if levels else {}),
        }
    )


@pytest.mark.parametrize("name", PAPER)
def test_the_settings_of_the_paper_are_those_that_its_authors_stored(
    name: str, presets: dict[str, Suite]
) -> None:
    found = [setting.model_dump() for setting in presets[name].settings]
    assert found == [setting_of(each).model_dump() for each in PUBLISHED[name]["settings"]]


@pytest.mark.parametrize("name", PAPER)
def test_the_compressions_of_the_paper_are_those_that_it_draws(name: str, presets: dict[str, Suite]) -> None:
    expected = [10**exponent for exponent in PUBLISHED[name]["log10_compressions"]]
    assert presets[name].compressions == pytest.approx(expected, rel=1e-5)
    assert len(presets[name].seeds) == max(3, PUBLISHED[name]["runs"]), "a board of one run has no interval"


def test_the_pruners_of_the_paper_have_its_rounds_schedule_and_mode(
    host: Host, presets: dict[str, Suite]
) -> None:
    published = PUBLISHED["pruners"]
    specs = resolve_pruners(presets["synflow-2020"].pruners, host)
    assert [spec.name for spec in specs] == [NAMES.get(each, each) for each in published["pruner_list"]]
    for spec, rounds in zip(specs, published["prune_epoch_list"], strict=True):
        assert (spec.name, spec.parameters["rounds"]) == (spec.name, rounds)
        assert spec.parameters["schedule"] == published["compression_schedule"]
        mode = spec.parameters.get("mode", "eval")
        assert (spec.name, mode) == (spec.name, MODES[published["prune_train_mode"]])
    for name in ("synflow-2020-imp", "synflow-2020-imp-conservation"):
        assert [spec.name for spec in presets[name].pruners] == ["magnitude"]
