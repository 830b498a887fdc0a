"""Suites from files: all faults at once, and the presets."""

from __future__ import annotations

from pathlib import Path

import pytest

from synflow_bench.errors import SuiteError
from synflow_bench.host import Host
from synflow_bench.suites import Suite, load_suite

FAULTY = """
compressions = [10, 0.5]
seeds = -1
pruners = ["synflow[", "snip"]
colour = "blue"

[[settings]]
dataset = "Digits"
model = "fc"
recipe = { epochs = 1, lr = -1.0 }

[[settings]]
dataset = "digits"
model = "fc"
recipe = { epochs = 1, optimizer = "adam", momentum = 0.5 }
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_suite_with_several_faults_tells_all_of_them_with_their_paths(tmp_path: Path) -> None:
    path = write(tmp_path, FAULTY)
    with pytest.raises(SuiteError) as error:
        load_suite(path)
    message = str(error.value)
    assert message.startswith(f"suite {str(path)!r}: ")
    for fault in (
        "compressions[1]: input should be greater than or equal to 1 (given 0.5)",
        "seeds: ",
        "pruners[0]: cannot read pruner 'synflow['; write it as name or name[key=value,key=value]",
        "colour: no such field",
        "settings[0].dataset: 'Digits' is not a name",
        "settings[0].recipe.lr: input should be greater than 0 (given -1.0)",
        "settings[1].recipe: momentum has no effect with optimizer 'adam'; leave it out",
    ):
        assert fault in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("compressions = [", "cannot read suite"),
        ("", "compressions: field required"),
        ("compressions = 10\nseeds = 1\nsettings = []", "settings: tuple should have at least 1 item"),
    ],
)
def test_a_file_that_is_no_suite_is_told(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(SuiteError, match=fault):
        load_suite(write(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        SuiteError, match=r"no suite file .*; `synflow-bench list suites` names the installed"
    ):
        load_suite(tmp_path / "mine.toml")
    with pytest.raises(SuiteError, match="cannot read suite"):
        load_suite(tmp_path)


def test_a_suite_is_named_by_its_file_unless_it_says(tmp_path: Path) -> None:
    rest = (
        'compressions = [2]\nseeds = [5, 3]\nsettings = [{dataset="digits", model="fc", recipe={epochs=1}}]\n'
    )
    assert load_suite(write(tmp_path, rest)).name == "mine"
    named = load_suite(write(tmp_path, f'name = "yours"\n{rest}'))
    assert (named.name, named.seeds) == ("yours", (5, 3))


@pytest.fixture(scope="module")
def presets() -> dict[str, Suite]:
    suites = Host.load().suites
    return {name: suites.get(name) for name in suites.names()}


def test_the_presets_are_there(presets: dict[str, Suite]) -> None:
    assert {"quick", "fashion", "cifar10", "cifar100"} <= presets.keys()
    for name, suite in presets.items():
        assert suite.name == name
        assert suite.description
        assert len(suite.seeds) >= (2 if name.endswith("-small") else 3)
        assert bool(suite.pruners) == name.startswith("synflow-2020"), "but for the paper's, the run chooses"


def test_quick_is_digits_with_fc(presets: dict[str, Suite]) -> None:
    quick = presets["quick"]
    assert [(s.dataset, s.model.name) for s in quick.settings] == [("digits", "fc")]
    assert quick.compressions == (1, 2, 5, 10, 20, 50, 100)
    assert quick.seeds == (0, 1, 2)


def test_fashion_has_three_networks(presets: dict[str, Suite]) -> None:
    fashion = presets["fashion"]
    assert [s.model.name for s in fashion.settings] == ["fc", "conv", "lottery/resnet20"]
    assert {s.dataset for s in fashion.settings} == {"fashion-mnist"}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_the_cifar_presets_have_the_paper_s_recipe(presets: dict[str, Suite], name: str) -> None:
    """Tanaka et al. 2020, arXiv 2006.05467: 160 epochs, momentum, batch 128, drops at 60 and 120."""
    vgg = [s for s in presets[name].settings if s.model.name.startswith("lottery/vgg")]
    assert [s.model.name for s in vgg] == ["lottery/vgg11-bn", "lottery/vgg16-bn"]
    for setting in vgg:
        recipe = setting.recipe
        assert setting.dataset == name
        assert (recipe.epochs, recipe.batch_size, recipe.optimizer) == (160, 128, "momentum")
        assert (recipe.lr, recipe.momentum, recipe.weight_decay) == (0.1, 0.9, 1e-4)
        assert (recipe.schedule, recipe.milestones, recipe.gamma) == ("step", (60, 120), 0.1)
