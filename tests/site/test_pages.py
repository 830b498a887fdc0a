"""What the files of a site hold: complete, linked, escaped, and the same for the same records."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import vl_convert

from synflow_bench.leaderboard import EXPLANATIONS, build_leaderboard, published_numbers
from synflow_bench.records import Record, Result
from synflow_bench.site import board_page
from synflow_bench.site.answers import answers
from synflow_bench.site.charts import shared_charts
from synflow_bench.site.pages import site_files
from synflow_bench.suites import ModelSpec, Multishot, Recipe, Setting, Singleshot, Tuning, read_tuning


class Page(HTMLParser):
    """The links, anchors and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        told = dict(attributes)
        self.tags.add(tag)
        self.links += [str(told[name]) for name in ("href", "src") if name in told]
        self.anchors |= {str(told["id"])} if "id" in told else set()

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="session")
def parsed(site: Path) -> dict[Path, Page]:
    """Every page of the site."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_there_is_a_page_for_every_board_row_and_record(site: Path, records: list[Record]) -> None:
    page = build_leaderboard(records)
    rows = sum(len(board.rows) + len(board.ablated) for board in page.boards)
    assert len(list(site.glob("boards/*.html"))) == len(page.boards) == 3
    assert len(list(site.glob("rows/*.html"))) == rows
    assert {path.stem for path in site.glob("records/*.html")} == {record.key for record in records}


def test_every_link_leads_to_a_file_of_the_site_and_a_place_on_it(
    site: Path, parsed: dict[Path, Page]
) -> None:
    for path, page in parsed.items():
        for link in page.links:
            if link == "data:,":
                continue
            if link.startswith("https:"):
                assert re.fullmatch(r"https://arxiv\.org/abs/\d{4}\.\d{5}", link), (
                    "papers alone are elsewhere"
                )
                continue
            name, _, anchor = unquote(link).partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.is_relative_to(site), (path, link)
            assert target.is_file(), (path, link)
            assert not anchor or anchor in parsed[target].anchors, (path, link)


def test_every_definition_is_on_its_page(site: Path, parsed: dict[Path, Page]) -> None:
    text = parsed[site / "definitions.html"].text
    assert all(meaning in text for meaning in EXPLANATIONS.values())


def test_no_name_becomes_markup(parsed: dict[Path, Page]) -> None:
    assert "img" not in set[str]().union(*(page.tags for page in parsed.values()))
    shown = [page for page in parsed.values() if "<script>alert(1)</script></script><img src=x" in page.text]
    assert len(shown) > 30


def test_pruners_are_described_with_paper_and_parameters_on_their_page_and_together(
    site: Path, parsed: dict[Path, Page], records: list[Record]
) -> None:
    methods = parsed[site / "methods.html"]
    assert "snip" in methods.anchors
    assert "not-on-any-board" not in methods.anchors
    board = records[0].cell.setting.id
    rows = [page for path, page in parsed.items() if path.parent.name == "rows" and board in path.name]
    described = [page for page in rows if "Keeps what matters" in page.text]
    assert len(described) == 3, "snip, its ablation, and the row of it that has parameters"
    for page in (methods, *described):
        assert ("The number of rounds." in page.text) == ("snip[note=" not in page.text or page is methods)
        assert "https://arxiv.org/abs/1810.02340" in page.links
        assert "By rounds rounds of it." in page.text


def test_a_site_without_descriptions_has_no_page_of_methods(make_record: Callable[..., Record]) -> None:
    record = make_record()
    files = dict(site_files(build_leaderboard([record]), [Result.of(record)], [record]))
    assert "methods.html" not in files
    assert "methods.html" not in files["index.html"]


def test_a_preliminary_board_is_called_one_and_published_tables_stand_apart(
    site: Path, parsed: dict[Path, Page]
) -> None:
    index = parsed[site / "index.html"].text
    assert index.count("preliminary: fewer than 3 seeds") == 1
    assert "Overall rank over 2 settings" in index
    assert "Published: cifar10 / lottery/vgg16" in index
    assert "(not ranked with ours)" in index


def test_a_record_tells_its_error_its_numbers_and_where_it_was_made(
    site: Path, parsed: dict[Path, Page], records: list[Record]
) -> None:
    done = parsed[site / "records" / f"{records[1].key}.html"].text
    assert records[1].metrics
    assert f"{100 * records[1].metrics.test_top1:.2f} %" in done
    assert all(told in done for told in ("fc1", "2.9.0", "setting.recipe.lr", "2 points as a table"))
    failed = parsed[site / "records" / f"{records[-1].key}.html"].text
    assert "ScoreError: <script>alert(1)" in failed
    assert "Traceback" in failed


def test_records_of_older_revisions_have_a_page_but_no_row(
    records: list[Record], make_record: object
) -> None:
    from synflow_bench.suites import Revisions

    newer = make_record("snip", 5, revisions=Revisions(pruner=2))  # type: ignore[operator]
    older = make_record("snip", 10, revisions=Revisions(pruner=1))  # type: ignore[operator]
    both = [newer, older]
    files = dict(site_files(build_leaderboard(both), [Result.of(each) for each in both], both))
    page = Page(files[f"records/{older.key}.html"])
    assert "of an older revision" in page.text
    assert not [link for link in page.links if "rows/" in link]
    board = files[f"boards/{older.cell.setting.id}.html"]
    assert "older revision" in board


def linked_files(records: list[Record], tuning: Tuning | None = None) -> dict[str, str]:
    """The files of the site of some records, of which every link leads to one of them."""
    results = [Result.of(record) for record in records]
    files = dict(site_files(build_leaderboard(results, tuning=tuning), results, records))
    for path, text in files.items():
        links = Page(text).links if path.endswith(".html") else []
        for link in links:
            name = unquote(link).partition("#")[0]
            if name and not name.startswith(("https:", "data:")):
                assert posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) in files, (
                    path,
                    link,
                )
    return files


@pytest.mark.parametrize("first", ["multishot", "singleshot"])
def test_records_of_all_protocols_of_a_board_are_on_its_pages(make_record: Any, first: str) -> None:
    plain = Setting(dataset="digits", model=ModelSpec(name="fc"), recipe=Recipe(epochs=5))
    seeds = range(8)
    made = [
        make_record(row, 10, seed, setting=plain.model_copy(update={"protocol": protocol}))
        for protocol in (Singleshot(), Multishot(levels=3))
        for row in ("dense", "magnitude")
        for seed in seeds
    ]
    # Results come in the order of their keys, which decides on nothing.
    made.sort(key=lambda each: (each.cell.setting.protocol.name != first, each.cell.is_dense, each.key))
    files = linked_files(made)
    (board,) = build_leaderboard(made).boards
    page = Page(files[f"boards/{board.id}.html"])
    assert all(f"../records/{record.key}.html" in page.links for record in made)
    for record in made:
        text = Page(files[f"records/{record.key}.html"]).text
        dense_of_another = record.cell.is_dense and record.cell.setting != board.setting
        assert ("not on the board: the dense network of another protocol" in text) is dense_of_another
        assert "older revision" not in text


def test_a_tuned_board_has_pages_of_the_records_that_it_shows(make_record: Any) -> None:
    tuning = read_tuning("lr=0.001|0.01")
    made = [
        make_record(row, 10, seed, top1, setting=digits_with(rate), val_top1=top1)
        for rate, top1 in ((0.001, 0.5), (0.01, 0.9))
        for row in ("dense", "snip")
        for seed in range(2)
    ]
    files = linked_files([*made, make_record("snip", 10, setting=digits_with(0.1))], tuning)
    shown = {f"records/{record.key}.html" for record in made if record.cell.setting.recipe.lr == 0.01}
    pages = {path for path in files if path.startswith("records/")}
    assert shown < pages
    assert len(pages - shown) == 1, "the untuned setting has its own board"


def digits_with(rate: float) -> Setting:
    recipe = Recipe(epochs=5, optimizer="adam", lr=rate)
    return Setting(dataset="digits", model=ModelSpec(name="fc"), recipe=recipe)


def test_the_order_of_records_changes_nothing(records: list[Record]) -> None:
    def files(ordered: list[Record]) -> dict[str, str]:
        results = [Result.of(record) for record in ordered]
        return dict(site_files(build_leaderboard(results), results, ordered))

    assert files(records) == files(records[::-1])


def test_the_axis_of_a_training_curve_counts_epochs() -> None:
    values = [{"series": "test top-1", "epoch": epoch, "value": 50 + epoch} for epoch in range(11)]
    chart = shared_charts()["accuracies"] | {"datasets": {"values": values}, "width": 600}
    drawn = vl_convert.vegalite_to_svg(chart)
    assert ">10</text>" in drawn
    assert "1e+1" not in drawn


def test_the_page_of_the_boards_stands_alone(records: list[Record]) -> None:
    text = board_page(build_leaderboard(records))
    page = Page(text)
    assert {"img", "iframe"}.isdisjoint(page.tags)
    assert [link for link in page.links if link != "data:," and not link.startswith("#")] == []
    assert {link.removeprefix("#") for link in page.links if link.startswith("#")} <= page.anchors
    assert "<script>alert(1)</script></script><img src=x" in page.text
    assert "@import" not in text


def test_the_page_of_the_boards_has_the_best_marked_and_the_details(records: list[Record]) -> None:
    text = board_page(build_leaderboard(records))
    assert '<td class="best">' in text
    assert "Details: compression, speedup" in text
    assert "vegaEmbed" in text
    assert "prefers-color-scheme: dark" in text


def test_a_page_without_a_chart_has_no_library_of_charts(make_record: Callable[..., Record]) -> None:
    assert "window.vegaEmbed = vegaEmbed" not in board_page(build_leaderboard([make_record("dense")]))


def test_the_claims_have_a_page_and_files_with_every_number(site: Path, parsed: dict[Path, Page]) -> None:
    numbers = published_numbers()
    page = parsed[site / "claims.html"]
    assert {number.source.name for number in numbers} <= page.anchors
    assert page.text.count("not comparable") >= len(numbers)
    assert len((site / "claims.csv").read_text(encoding="utf-8").splitlines()) == len(numbers) + 1
    assert len(json.loads((site / "claims.json").read_text(encoding="utf-8"))["claims"]) == len(numbers)


@pytest.mark.parametrize("seeds", [{"snip": 0, "random": 1}, {"snip": 0, "random": 1, "synflow": 2}])
def test_no_row_of_other_seeds_is_said_to_be_the_best(seeds: dict[str, int], make_record: Any) -> None:
    records = [make_record(row, at, seed=seed) for row, seed in seeds.items() for at in (5, 10)]
    (board,) = build_leaderboard(records).boards
    assert answers(board) == []


def test_the_index_begins_with_the_answer_of_every_board(
    site: Path, parsed: dict[Path, Page], records: list[Record]
) -> None:
    text = parsed[site / "index.html"].text
    before = text[: text.index("Published numbers beside ours")]
    ranked = [board for board in build_leaderboard(records).boards if not board.is_preliminary]
    assert len(ranked) == 2
    for board in ranked:
        assert board.heading in before
    assert before.count("synflow has the best AUC") == len(ranked)
    assert before.count("of 3 other rows: ") == len(ranked)
