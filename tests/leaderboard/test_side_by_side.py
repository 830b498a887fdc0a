"""Two results side by side: cells of one side only, equal rows, and differences beyond noise."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from synflow_bench.errors import RecordError
from synflow_bench.leaderboard.side_by_side import RowDifference, SideBySide, compare_sides
from synflow_bench.records import Record, Store, export_records
from synflow_bench.suites import Revisions

MakeRecord = Callable[..., Record]


@pytest.fixture
def sides(tmp_path: Path) -> Callable[[Sequence[Record], Sequence[Record]], SideBySide]:
    """Compare two folders with these records."""

    def sides(a: Sequence[Record], b: Sequence[Record]) -> SideBySide:
        stores = Store(tmp_path / "a"), Store(tmp_path / "b")
        for store, records in zip(stores, (a, b), strict=True):
            for record in records:
                store.put(record)
        return compare_sides(*(store.root for store in stores), stores[0])

    return sides


def the_row(found: SideBySide) -> RowDifference:
    (row,) = found.rows
    return row


def test_equal_records_are_equal_whatever_their_time(sides: Any, make_record: MakeRecord) -> None:
    found = sides([make_record(prune_seconds=1.0)], [make_record(prune_seconds=2.0)])
    assert (the_row(found).verdict, the_row(found).equal, found.differs) == ("equal", 1, False)


def test_differences_are_paired_by_seed_and_judged_by_their_interval(
    sides: Any, make_record: MakeRecord
) -> None:
    a, gain = [0.70, 0.75, 0.80, 0.72], [0.010, 0.012, 0.009, 0.011]
    b = [value + more for value, more in zip(a, gain, strict=True)]
    found = sides(
        [make_record(seed=seed, top1=top1) for seed, top1 in enumerate(a)],
        [make_record(seed=seed, top1=top1) for seed, top1 in enumerate(b)],
    )
    row = the_row(found)
    expected = stats.ttest_rel(b, a)
    low, high = expected.confidence_interval(0.95)
    assert row.difference is not None
    assert row.difference.mean == pytest.approx(np.mean(gain))
    assert row.difference.half_width == pytest.approx((high - low) / 2)
    assert expected.pvalue < 0.05
    assert (row.verdict, row.seeds, row.equal, found.differs) == ("beyond noise", 4, 0, True)
    assert found.expected_by_chance == pytest.approx(0.05)


def test_noise_is_no_difference(sides: Any, make_record: MakeRecord) -> None:
    found = sides(
        [make_record(seed=seed, top1=top1) for seed, top1 in enumerate([0.70, 0.75, 0.80])],
        [make_record(seed=seed, top1=top1) for seed, top1 in enumerate([0.71, 0.74, 0.80])],
    )
    assert (the_row(found).verdict, the_row(found).equal, found.differs) == ("within noise", 1, False)


def test_one_seed_decides_nothing(sides: Any, make_record: MakeRecord) -> None:
    assert the_row(sides([make_record(top1=0.5)], [make_record(top1=0.9)])).verdict == "undecided"


def test_cells_of_one_side_only_are_named(sides: Any, make_record: MakeRecord) -> None:
    both, mine, theirs = make_record(), make_record("random"), make_record(compression=100.0)
    found = sides([both, mine], [both, theirs])
    assert (set(found.only_a), set(found.only_b)) == ({mine.key}, {theirs.key})
    assert "random" in found.only_a[mine.key]
    assert found.differs


def test_cells_of_other_revisions_are_common(sides: Any, make_record: MakeRecord) -> None:
    old, new = (make_record(revisions=Revisions(pruner=number)) for number in (1, 2))
    found = sides([old], [new, old])
    assert not found.only_a | found.only_b
    assert found.cells == {"revisions.pruner": {("1", "2"): 1}}


def test_a_failure_on_one_side_is_a_difference(sides: Any, make_record: MakeRecord) -> None:
    found = sides([make_record()], [make_record(status="failed")])
    assert the_row(found).statuses == {"ok, failed": 1}
    assert (the_row(found).verdict, found.differs) == ("not compared", True)


def test_what_of_the_provenance_differs_is_counted(sides: Any, make_record: MakeRecord) -> None:
    def on(record: Record, device: str) -> Record:
        provenance = record.provenance.model_copy(
            update={"device": device, "created": device, "plugins": {"pruner": f"of {device}"}}
        )
        return record.model_copy(update={"provenance": provenance})

    records = [make_record(seed=seed) for seed in range(3)]
    found = sides([on(each, "cpu") for each in records], [on(each, "gpu") for each in records])
    assert found.provenance == {"device": {("cpu", "gpu"): 3}, "plugins.pruner": {("of cpu", "of gpu"): 3}}


def test_archives_and_folders_are_alike(tmp_path: Path, make_record: MakeRecord) -> None:
    store = Store(tmp_path / "folder")
    store.put(make_record())
    export_records(store, store, tmp_path / "archive.tar.gz")
    assert not compare_sides(store.root, tmp_path / "archive.tar.gz", store).differs


def test_two_keys_show_what_their_cells_and_numbers_have_not_in_common(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    store, one, other = Store(tmp_path), make_record("snip", top1=0.5), make_record("random", top1=0.6)
    for record in (one, other):
        store.put(record)
    found = compare_sides(one.key, other.key[:8], store)
    assert found.cells["pruner.name"] == {("snip", "random"): 1}
    assert found.metrics["test_top1"] == (0.5, 0.6)
    assert "test_loss" not in found.metrics


def test_settings_of_one_title_show_what_differs(
    tmp_path: Path, make_record: MakeRecord, invoke: Any
) -> None:
    for name, epochs in (("a", 5), ("b", 30)):
        setting = make_record().cell.setting
        recipe = setting.recipe.model_copy(update={"epochs": epochs})
        Store(tmp_path / name).put(make_record(setting=setting.model_copy(update={"recipe": recipe})))
    found = compare_sides(tmp_path / "a", tmp_path / "b", Store(tmp_path))
    assert found.settings == {"digits / fc": {"recipe.epochs": ("5", "30")}}
    shown = invoke("results", "diff", str(tmp_path / "a"), str(tmp_path / "b"))
    assert "digits / fc has other settings in A and B: recipe.epochs 5 and 30\n" in shown.out
    assert not compare_sides(tmp_path / "a", tmp_path / "a", Store(tmp_path)).settings


@pytest.mark.parametrize("second", ["nowhere", "abcdef", "empty"])
def test_sides_that_are_not_there_are_refused(second: str, tmp_path: Path, make_record: MakeRecord) -> None:
    store = Store(tmp_path / "folder")
    store.put(make_record())
    (tmp_path / "empty").mkdir()
    given = tmp_path / second if second != "abcdef" else second
    with pytest.raises(RecordError, match=second):
        compare_sides(store.root, given, store)


def test_the_command_prints_lines_or_json_and_fails_where_results_differ(
    tmp_path: Path, make_record: MakeRecord, invoke: Any
) -> None:
    for name, gain in (("a", 0.0), ("b", 0.1)):
        for seed in range(3):
            Store(tmp_path / name).put(make_record(seed=seed, top1=0.7 + gain + seed / 1000 * (1 + gain)))
    places = (str(tmp_path / "a"), str(tmp_path / "b"))
    shown = invoke("results", "diff", *places)
    assert shown.code == 1
    assert "+10.01 ± 0.02" in shown.out
    assert "1 beyond noise" in shown.out
    (row,) = json.loads(invoke("results", "diff", "--json", *places).out)["rows"]
    assert row["verdict"] == "beyond noise"
    assert invoke("results", "diff", places[0], places[0]).code == 0
    invoke("results", "diff", places[0], str(tmp_path / "c")).assert_refused("c")
