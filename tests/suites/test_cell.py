"""Cells: compression and sparsity, and the seeds of random numbers that pruners share or have alone."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.errors import UsageError
from synflow_bench.suites import (
    Cell,
    CellTitles,
    Multishot,
    PrunerSpec,
    PruningOptions,
    Purpose,
    compression_of_sparsity,
    seed_of,
)

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
OF_THE_PRUNER = {"pruner", "ablation", "update"}


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_pruner_s_name_enters_only_its_own_draws(cell: Cell, purpose: Purpose) -> None:
    other = cell.model_copy(update={"pruner": PrunerSpec(name="grasp")})
    assert (seed_of(other, purpose) != seed_of(cell, purpose)) == (purpose in OF_THE_PRUNER)


@pytest.mark.parametrize("purpose", PURPOSES)
def test_the_split_alone_is_the_same_in_all_repetitions(cell: Cell, purpose: Purpose) -> None:
    again = cell.model_copy(update={"seed": 1})
    assert (seed_of(again, purpose) == seed_of(cell, purpose)) == (purpose == "split")


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("change", [{"compression": 20.0}, {"ablation": "shuffle"}])
def test_compression_and_ablation_draw_the_same(
    cell: Cell, purpose: Purpose, change: dict[str, object]
) -> None:
    assert seed_of(cell.model_copy(update=change), purpose) == seed_of(cell, purpose)


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("change", [{"root_seed": 1}, {"dataset": "mnist"}])
def test_every_seed_depends_on_the_root_and_the_dataset(
    cell: Cell, purpose: Purpose, change: dict[str, object]
) -> None:
    other = cell.model_copy(update={"setting": cell.setting.model_copy(update=change)})
    assert seed_of(other, purpose) != seed_of(cell, purpose)


def test_titles_tell_settings_apart_where_their_own_titles_do_not(cell: Cell) -> None:
    def like(**fields: object) -> Cell:
        return cell.model_copy(update={"setting": cell.setting.model_copy(update=fields)})

    rates = [cell.setting.recipe.model_copy(update={"lr": rate}) for rate in (0.1, 0.2, 0.3)]
    tuned = [like(recipe=recipe) for recipe in rates]
    levels = [like(protocol=Multishot(levels=levels)) for levels in (3, 5)]
    granularities = [like(pruning=PruningOptions(granularity=name)) for name in ("weight", "channel")]
    for cells in (tuned, levels, granularities):
        titles = CellTitles(cells)
        assert len({titles.of(each) for each in cells}) == len(cells)
        assert all(each.setting.id in titles.of(each) for each in cells)
    alone = [like(dataset="mnist"), cell, cell.model_copy(update={"seed": 1}), levels[0]]
    assert [CellTitles(alone).of(each) for each in alone] == [each.title for each in alone]


def test_purposes_draw_apart(cell: Cell) -> None:
    assert len({seed_of(cell, purpose) for purpose in PURPOSES}) == len(PURPOSES)


def test_a_seed_fits_a_generator_and_stays_as_it_is(cell: Cell) -> None:
    seeds = [seed_of(cell.model_copy(update={"seed": n}), "init") for n in range(100)]
    assert len(set(seeds)) == 100
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seeds[0] == 4912030014959646605


@pytest.mark.parametrize(
    ("sparsity", "compression"),
    [(0, 1), (0.0, 1), (0.5, 2), (0.8, 5), (0.9, 10), (0.98, 50), (0.99, 100), (0.999, 1000), (0.9999, 1e4)],
)
def test_a_decimal_sparsity_is_an_exact_compression(sparsity: float, compression: float) -> None:
    assert compression_of_sparsity(sparsity) == compression


@given(st.floats(0, 1, exclude_max=True))
def test_a_sparsity_is_one_minus_the_density(sparsity: float) -> None:
    compression = compression_of_sparsity(sparsity)
    assert compression >= 1
    assert 1 - 1 / compression == pytest.approx(sparsity, abs=1e-15)


@pytest.mark.parametrize("sparsity", [-0.1, 1, 1.5, float("nan"), float("inf")])
def test_a_sparsity_outside_0_to_1_is_an_error(sparsity: float) -> None:
    with pytest.raises(UsageError, match=f"sparsity {sparsity:g}"):
        compression_of_sparsity(sparsity)
