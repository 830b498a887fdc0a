"""Figures for papers: what is said beside the drawing, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.errors import UnknownNameError
from synflow_bench.leaderboard import build_leaderboard
from synflow_bench.records import Record, Result
from synflow_bench.site import accuracy_figure
from synflow_bench.site.pages import site_files


def subtitle(records: list[Record], axis: str = "compression") -> list[str]:
    found: list[str] = accuracy_figure(build_leaderboard(records), axis).to_dict()["title"]["subtitle"]
    return found


def test_the_dashed_line_is_explained_where_there_is_one(make_record: Any) -> None:
    assert "dashed gray: dense network" in subtitle([make_record(), make_record("dense")])
    assert "dashed gray: dense network" not in subtitle([make_record()])


def test_points_without_effective_compression_are_counted(make_record: Any) -> None:
    records = [make_record("snip", 2, effective_compression=2.0), make_record("snip", 100)]
    said = "not drawn: 1 point without effective compression (collapsed, or not traced)"
    assert said in subtitle(records, "effective")
    assert said not in subtitle(records)


def test_the_legend_has_whole_symbols_and_no_dashes(make_record: Any) -> None:
    figure = accuracy_figure(build_leaderboard([make_record()])).to_dict()
    encodings = [layer["encoding"] for layer in figure["layer"]]
    (dash,) = (each["strokeDash"] for each in encodings if "strokeDash" in each)
    assert dash["legend"] is None
    assert dash["scale"]["domain"] != encodings[-2]["shape"]["scale"]["domain"], "equal ones are merged"
    assert all(each["shape"]["legend"] for each in encodings if "shape" in each)


def test_a_board_without_a_curve_is_left_out_beside_others(make_record: Any) -> None:
    other = make_record().cell.setting.model_copy(update={"root_seed": 1})
    figure = accuracy_figure(build_leaderboard([make_record(), make_record("dense", setting=other)]))
    assert "concat" not in figure.to_dict()


@pytest.mark.parametrize("kind", ["failed", "dense"])
def test_a_site_without_curves_has_no_figure(make_record: Any, kind: str) -> None:
    records = [make_record(status="failed") if kind == "failed" else make_record("dense")]
    files = dict(site_files(build_leaderboard(records), [Result.of(each) for each in records], records))
    setting = records[0].cell.setting.id
    assert 'data-chart="board"' not in files["index.html"] + files[f"boards/{setting}.html"]


def colors(records: list[Record]) -> dict[str, str]:
    figure = accuracy_figure(build_leaderboard(records)).to_dict()
    scale = next(each["encoding"]["color"] for each in figure["layer"] if "color" in each["encoding"])[
        "scale"
    ]
    return dict(zip(scale["domain"], scale["range"], strict=True))


def test_a_pruner_has_one_color_whatever_its_rank_and_whoever_else_is_there(make_record: Any) -> None:
    alone = colors([make_record("snip", top1=0.1)])
    others = [make_record(name, top1=0.9) for name in ("synflow", "grasp", "another")]
    assert colors([make_record("snip", top1=0.95), *others])["snip"] == alone["snip"]
    assert colors([make_record("snip", top1=0.1), *others])["snip"] == alone["snip"]


def test_one_board_can_be_drawn_by_name(make_record: Any) -> None:
    other = make_record().cell.setting.model_copy(update={"dataset": "mnist"})
    leaderboard = build_leaderboard([make_record(), make_record(setting=other)])
    assert leaderboard.chart().to_dict()["title"]["text"] == "digits / fc"
    assert leaderboard.chart("mnist / fc").to_dict()["title"]["text"] == "mnist / fc"
    with pytest.raises(UnknownNameError, match="mnist / fc"):
        leaderboard.chart("mnist / fd")
