"""Suites: expansion to cells, files with all problems reported at once, and the presets."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.errors import SuiteError
from synflow_bench.host import Host
from synflow_bench.records import key_of
from synflow_bench.suites import (
    Cell,
    PrunerRow,
    PrunerSpec,
    Revisions,
    Setting,
    Suite,
    expand,
    load_suite,
    override,
    seed_of,
    validate,
)

PRUNERS = [PrunerSpec(name="random", label="random"), PrunerSpec(name="snip", label="snip")]
INVALID = """
compressions = [10, 0.5]
seeds = -1
pruners = ["synflow[", "snip"]
color = "blue"

[[settings]]
dataset = "Digits"
model = "fc"
recipe = { epochs = 1, lr = -1.0 }

[[settings]]
dataset = "digits"
model = "fc"
recipe = { epochs = 1, optimizer = "adam", momentum = 0.5 }
"""


def revisions(_setting: Setting, pruner: PrunerSpec | None) -> Revisions:
    return Revisions(pruner=3 if pruner else 7, model=2)


def cells(suite: Suite) -> list[Cell]:
    return expand(suite, PRUNERS, revisions)


def test_every_pruner_runs_at_every_compression_and_seed(suite: Suite) -> None:
    rows = Counter((cell.setting.dataset, cell.row, cell.compression, cell.seed) for cell in cells(suite))
    assert set(rows.values()) == {1}
    assert set(rows) == {
        (dataset, row, compression, seed)
        for dataset in ("digits", "mnist")
        for row, compression in (("dense", 1), ("random", 10), ("snip", 10))
        for seed in (0, 1)
    }


def test_the_dense_network_is_trained_once_per_seed_even_without_compression_1(suite: Suite) -> None:
    without = suite.model_copy(update={"compressions": (10.0,)})
    assert [key_of(cell) for cell in cells(without)] == [key_of(cell) for cell in cells(suite)]


def test_compression_1_alone_is_the_dense_network_alone(suite: Suite) -> None:
    assert {cell.row for cell in cells(suite.model_copy(update={"compressions": (1.0,)}))} == {"dense"}


def test_a_row_may_have_a_protocol_of_its_own(suite: Suite) -> None:
    """Its cells are those of a suite with that protocol, and have the initial weights of all others."""
    texts = ["snip", "snip@multishot[levels=2|3]", "snip@multishot[levels=2]", "snip@singleshot"]
    rows = Suite.model_validate({**suite.model_dump(), "pruners": texts}).pruners
    found = expand(suite, rows, revisions)
    protocols = [{"name": "singleshot"}, *({"name": "multishot", "levels": levels} for levels in (2, 3))]
    others = [
        cell
        for protocol in protocols
        for cell in expand(override(suite, protocol=protocol), [PrunerSpec(name="snip")], revisions)
    ]
    plain = {key_of(cell) for cell in others if not cell.is_dense or cell.setting in suite.settings}
    assert sorted(map(key_of, found)) == sorted(plain)
    assert (
        len({seed_of(cell, "init") for cell in found if cell.seed == 0 and cell.setting.dataset == "digits"})
        == 1
    )
    assert sum(cell.is_dense for cell in found) == sum(cell.is_dense for cell in cells(suite))
    assert {type(cell.pruner) for cell in found} == {PrunerSpec}


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        ("snip@multshot[levels=2]", "'singleshot', 'multishot' or 'finetune'"),
        ("snip@multishot", "'multishot' needs levels"),
        ("snip@finetune", "'finetune' needs epochs"),
        ("snip@finetune[epochs=0]", "greater than or equal to 1"),
        ("snip@", "write it as name"),
        ("@finetune[epochs=1]", "cannot read pruner ''"),
        ("snip@finetune[epochs=1]@finetune[epochs=1]", "write it as name"),
        ({"name": "snip", "protocol": "finetune[epochs"}, "write it as name"),
    ],
)
def test_an_invalid_protocol_of_a_row_is_one_line(row: Any, fact: str, suite: Suite) -> None:
    with pytest.raises(SuiteError) as error:
        validate(Suite, {**suite.model_dump(), "pruners": [row]}, "suite")
    assert fact in str(error.value)
    assert "\n" not in str(error.value)


def test_a_protocol_that_the_setting_does_not_allow_is_an_error_before_the_run(suite: Suite) -> None:
    cosine = override(suite, assignments=["recipe.schedule=cosine"])
    row = validate(PrunerRow, "snip@finetune[epochs=1]", "pruner")
    with pytest.raises(SuiteError, match=r"pruner 'snip': .*has no learning rate after a cosine"):
        expand(cosine, [row], revisions)


def test_a_pruner_alone_has_no_protocol() -> None:
    with pytest.raises(SuiteError, match="only a row of a run has"):
        validate(PrunerSpec, "snip@finetune[epochs=1]", "pruner")


def test_rows_keep_their_protocols_when_a_suite_is_changed(suite: Suite) -> None:
    given = Suite.model_validate({**suite.model_dump(), "pruners": ["snip@finetune[epochs=1]"]})
    assert override(given, seeds=1).pruners == given.pruners


def test_the_dense_cell_has_no_revision_of_a_pruner(suite: Suite) -> None:
    dense, pruned = cells(suite)[:2]
    assert (dense.is_dense, dense.revisions) == (True, Revisions(model=2))
    assert (pruned.is_dense, pruned.revisions) == (False, Revisions(pruner=3, model=2))


def test_settings_come_first_then_seeds_then_compressions_then_pruners(suite: Suite) -> None:
    of_one = cells(suite.model_copy(update={"compressions": (1.0, 10.0, 20.0)}))[:10]
    assert [(cell.seed, cell.compression, cell.row) for cell in of_one] == [
        (seed, compression, row)
        for seed in (0, 1)
        for compression, row in [(1, "dense"), (10, "random"), (10, "snip"), (20, "random"), (20, "snip")]
    ]


def test_ablations_are_rows_of_their_own_and_leave_the_dense_network_alone(suite: Suite) -> None:
    rows = [cell.row for cell in cells(suite.model_copy(update={"ablations": ("none", "shuffle")}))[:5]]
    assert rows == ["dense", "random", "snip", "random (shuffle)", "snip (shuffle)"]


def test_a_setting_that_is_there_twice_counts_once(suite: Suite) -> None:
    doubled = suite.model_copy(update={"settings": suite.settings * 2})
    assert len(cells(doubled)) == len(cells(suite))


def test_a_cell_has_a_title(suite: Suite) -> None:
    cell = cells(suite)[2]
    assert cell.title == "digits / fc / snip / compression 10 / seed 0"
    assert cell.density == 1 / 10


def test_expanded_cells_are_as_valid_as_others(suite: Suite) -> None:
    for cell in cells(suite):
        assert Cell.model_validate(cell.model_dump()) == cell


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_known_fields_are_listed_once_for_all_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(SuiteError) as error:
        load_suite(write(tmp_path, "xyzzy = 1\nqwerty = 2\npruner = 3"))
    message = str(error.value)
    assert message.count("no such field") == 3
    assert message.count("known: ") == 1
    assert "did you mean 'pruners'?" in message


def test_all_problems_of_a_suite_are_reported_with_their_places(tmp_path: Path) -> None:
    path = write(tmp_path, INVALID)
    with pytest.raises(SuiteError) as error:
        load_suite(path)
    message = str(error.value)
    assert message.startswith(f"suite {str(path)!r}: ")
    for fact in (
        "compressions[1]: input should be greater than or equal to 1 (given 0.5)",
        "seeds: ",
        "pruners[0]: cannot read pruner 'synflow['",
        "color: ",
        "settings[0].dataset: 'Digits' is not a name",
        "settings[0].recipe.lr: ",
        "settings[1].recipe: momentum",
    ):
        assert fact in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("compressions = [", "cannot read suite"),
        ("", "compressions: "),
        ("seeds = 0", "0 repetitions are none"),
        ("compressions = 10\nseeds = 1\nsettings = []", "settings: "),
    ],
)
def test_a_file_that_is_no_suite_is_an_error(tmp_path: Path, text: str, fact: str) -> None:
    with pytest.raises(SuiteError, match=fact):
        load_suite(write(tmp_path, text))


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"no suite file .*mine\.toml"):
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
        chosen = name == "quick" or name.startswith("synflow-2020")
        assert bool(suite.pruners) == chosen, "elsewhere the run chooses"


def test_quick_is_digits_with_fc_and_seeds_enough_for_ranks(presets: dict[str, Suite]) -> None:
    quick = presets["quick"]
    assert [(s.dataset, s.model.name) for s in quick.settings] == [("digits", "fc")]
    assert [spec.name for spec in quick.pruners] == ["random", "magnitude", "snip", "grasp", "synflow"]
    assert quick.compressions == (1, 5, 10, 20, 50, 100)
    assert quick.seeds == tuple(range(10))


def test_fashion_has_three_networks_and_seeds_enough_for_intervals(presets: dict[str, Suite]) -> None:
    fashion = presets["fashion"]
    assert [s.model.name for s in fashion.settings] == ["fc", "conv", "lottery/resnet20"]
    assert {s.dataset for s in fashion.settings} == {"fashion-mnist"}
    assert fashion.seeds == (0, 1, 2, 3, 4)


@pytest.mark.parametrize("name", ["quick", "fashion"])
def test_all_pruners_of_the_project_s_own_suites_score_without_biases(
    presets: dict[str, Suite], name: str
) -> None:
    assert {setting.pruning.biases for setting in presets[name].settings} == {"zero"}


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


BODY = 'seeds = 1\nsettings = [{ dataset = "digits", model = "fc", recipe = { epochs = 1 } }]\n'


def test_sparsities_are_compressions_with_the_same_keys(tmp_path: Path) -> None:
    by_sparsity = load_suite(write(tmp_path, f"sparsities = [0, 0.9, 0.99]\n{BODY}"))
    by_compression = load_suite(write(tmp_path, f"compressions = [1, 10, 100]\n{BODY}"))
    assert by_sparsity == by_compression
    assert [key_of(cell) for cell in cells(by_sparsity)] == [key_of(cell) for cell in cells(by_compression)]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("sparsities = [0.9]\ncompressions = [10]", "both compressions and sparsities"),
        ("sparsities = [0.9, 1]", "sparsity 1 "),
        ("sparsities = [-0.5]", "sparsity -0.5 "),
        ("sparsities = 0.9", "sparsities: 0.9"),
        ("sparsities = ['high']", "sparsities: ['high']"),
        ("sparsities = []", "compressions: "),
    ],
)
def test_invalid_sparsities_are_an_error(tmp_path: Path, text: str, fact: str) -> None:
    with pytest.raises(SuiteError) as error:
        load_suite(write(tmp_path, f"{text}\n{BODY}"))
    assert fact in str(error.value)
