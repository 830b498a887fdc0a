"""Published numbers: what they are, what is wrong with them, and that they are never ranked with ours."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from synflow_bench.leaderboard import build_leaderboard, published_tables, render
from synflow_bench.suites import ModelSpec, Recipe, Setting


@pytest.fixture
def ours(records_of: Any) -> list[Any]:
    setting = Setting(dataset="cifar10", model=ModelSpec(name="lottery/vgg16-bn"), recipe=Recipe(epochs=1))
    return list(records_of({"snip": {2: (0.5, 0.6)}, "synflow": {2: (0.5, 0.7)}}, setting=setting))


def test_every_published_setting_has_five_pruners_at_thirteen_compressions_and_three_runs() -> None:
    tables = published_tables()
    assert len(tables) == 12
    for table in tables:
        assert len(table.compressions) == 13
        assert {row.pruner for row in table.rows} == {"random", "magnitude", "snip", "grasp", "synflow"}
        assert {estimate.n for row in table.rows for estimate in row.accuracy.values()} == {3}
        assert all(0 <= estimate.mean <= 1 for row in table.rows for estimate in row.accuracy.values())


def test_a_number_is_the_mean_of_the_published_runs() -> None:
    table = next(t for t in published_tables() if (t.dataset, t.model) == ("cifar100", "lottery/vgg11-bn"))
    snip = next(row for row in table.rows if row.pruner == "snip")
    assert snip.accuracy[1.0].mean == pytest.approx((0.7004 + 0.7046 + 0.7018) / 3)


def test_what_is_wrong_with_them_is_said() -> None:
    for table in published_tables():
        assert table.metric == "max_test"
        assert "2006.05467" in table.citation
        assert [row.pruner for row in table.rows if row.suspect] == ["grasp"]
    wide = [table for table in published_tables() if "wide" in table.reported_model]
    assert len(wide) == 3
    assert all(
        table.model == "tinyimagenet/resnet18" and "ignored its width" in table.notes[-1] for table in wide
    )


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "html"])
def test_they_stand_beside_the_board_of_their_setting_and_are_marked(ours: Any, form: str) -> None:
    text = " ".join(render(build_leaderboard(ours, published=published_tables()), form).split())
    assert "not ranked with ours" in text
    assert "grasp (suspect)" in text
    assert "max" in text
    assert "arXiv 2006.05467" in text


def test_they_change_no_rank_and_no_mark(ours: Any) -> None:
    with_them = build_leaderboard(ours, published=published_tables())
    assert with_them.boards == build_leaderboard(ours).boards
    assert [t.title for t in with_them.published_for(with_them.boards[0])] == [
        "Published: cifar10 / lottery/vgg16-bn"
    ]
    assert len(with_them.published_alone) == 11


def test_machines_get_them_apart_with_their_metric(ours: Any) -> None:
    page = build_leaderboard(ours, published=published_tables()[:1])
    data = json.loads(render(page, "json"))
    assert len(data["boards"]) == 1
    assert data["published"][0]["metric"] == "max_test"
    lines = list(csv.DictReader(io.StringIO(render(page, "csv"))))
    theirs = [line for line in lines if line["metric"] == "max_test"]
    assert len(theirs) == 5 * 13
    assert {line["final_epoch_test_top1_mean"] for line in theirs} == {""}
    assert {line["standing"] for line in theirs} == {""}
