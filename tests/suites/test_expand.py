"""From a suite to its cells."""

from __future__ import annotations

from collections import Counter

from synflow_bench.records import key_of
from synflow_bench.suites import Cell, PrunerSpec, Revisions, Setting, Suite, expand

PRUNERS = [PrunerSpec(name="random", label="random"), PrunerSpec(name="snip", label="snip")]


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


def test_the_dense_network_is_trained_once_a_seed_even_where_compression_1_is_not_asked(suite: Suite) -> None:
    without = suite.model_copy(update={"compressions": (10.0,)})
    assert [key_of(cell) for cell in cells(without)] == [key_of(cell) for cell in cells(suite)]


def test_compression_1_alone_is_the_dense_network_alone(suite: Suite) -> None:
    assert {cell.row for cell in cells(suite.model_copy(update={"compressions": (1.0,)}))} == {"dense"}


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


def test_a_cell_says_what_it_is(suite: Suite) -> None:
    cell = cells(suite)[2]
    assert cell.title == "digits / fc / snip / compression 10 / seed 0"
    assert cell.density == 1 / 10


def test_expanded_cells_are_as_valid_as_others(suite: Suite) -> None:
    for cell in cells(suite):
        assert Cell.model_validate(cell.model_dump()) == cell
