"""What the files of a site hold: complete, linked, escaped, and the same for the same records."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
import vl_convert

from synflow_bench.leaderboard import EXPLANATIONS, build_leaderboard
from synflow_bench.records import Record, Result
from synflow_bench.site import board_page
from synflow_bench.site.charts import shared_charts
from synflow_bench.site.pages import site_files


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
                assert link == "https://arxiv.org/abs/1810.02340", "papers alone are elsewhere"
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
