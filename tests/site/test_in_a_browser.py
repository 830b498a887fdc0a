"""The site in a real browser, from files: nothing is asked of a network, and everything works."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains

from synflow_bench.charts import chart_bytes
from synflow_bench.leaderboard import Leaderboard, build_leaderboard, render
from synflow_bench.records import Record
from synflow_bench.site import accuracy_figure

pytestmark = pytest.mark.slow

KINDS = ("index", "definitions", "methods", "claims", "board", "row", "record", "failed")
PRICES = {"snip": 0.1, "set": 1.0, "magnitude": 4.0}
TABLE = "main section:nth-of-type(2) table.accuracies"
DETAILS = "h2:not([id]) + .filter + .scroll"
COST = "figure[data-chart=cost]"
LINES = "figure[data-chart=board][data-drawn] .mark-line path[aria-roledescription='line mark']"


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_asks_for_files_alone_and_says_nothing_on_the_console(
    browser: Any, page_of: Callable[[str], str], kind: str
) -> None:
    browser.open(page_of(kind))
    said, asked = browser.logs()
    assert said == []
    assert asked
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_no_wider_than_a_phone(browser: Any, page_of: Callable[[str], str], kind: str) -> None:
    browser.open(page_of(kind), width=390)
    assert browser.run("return document.documentElement.scrollWidth") <= 390


def test_on_a_phone_names_break_between_words_and_lines_of_many_layers_stay_low(
    browser: Any, page_of: Callable[[str], str]
) -> None:
    browser.open(page_of("board"), width=390)
    boxes = "return [...document.querySelectorAll(arguments[0])].map(each => each.getBoundingClientRect())"
    (cell,) = browser.run(boxes, f"{DETAILS} tbody td.text:not(:empty)")
    assert cell["height"] < 120, "six layers, two on a line"
    assert min(each["width"] for each in browser.run(boxes, "tbody th")) >= 96
    assert max(each["right"] for each in browser.run(boxes, "caption > span")) <= 390


def test_the_rank_stands_beside_the_pruner(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    headers = browser.texts(".accuracies thead th")
    assert headers[:4] == ["pruner", "rank", "1", "2"]
    assert headers[-4:] == ["AUC", "AUC to best", "AUC cost", "critical compression"]
    first = browser.texts(".accuracies tbody tr:nth-child(2) > *")
    assert first[:2] == ["synflow", "1 (1–1)"]


def test_a_column_sorts_by_number_up_and_down_with_blanks_last(
    browser: Any, page_of: Callable[[str], str]
) -> None:
    browser.open(page_of("board"))
    column = browser.texts(".accuracies thead th").index("AUC") + 1
    (button,) = browser.all(f".accuracies thead th:nth-child({column}) .sort")
    shown = []
    for direction in ("ascending", "descending"):
        browser.run("arguments[0].click()", button)
        assert browser.all(f".accuracies th[aria-sort={direction}]")
        texts = browser.texts(f".accuracies tbody :nth-child({column})")
        assert texts.pop() == ""
        shown.append([float(text.split()[0]) for text in texts])
    assert shown == [sorted(shown[0]), sorted(shown[0], reverse=True)]
    assert len(set(shown[0])) == 4


def test_a_column_of_names_sorts_by_them(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    browser.run("document.querySelector('.accuracies thead th .sort').click()")
    names = browser.texts(".accuracies tbody th")
    assert names == sorted(names)
    assert len(names) == 5


def test_a_filter_keeps_the_lines_with_all_its_words(
    browser: Any, page_of: Callable[[str], str], records: list[Record]
) -> None:
    browser.open(page_of("board"))
    field = browser.all("#records ~ .filter input")[0]
    field.send_keys("SNIP ok shuffle")
    shown = "#records ~ .scroll tbody tr:not([hidden])"
    own = [r for r in records if r.cell.setting.dataset == "cifar10" and r.cell.ablation == "shuffle"]
    assert len(browser.all(shown)) == len(own) == 3
    assert browser.texts("#records ~ .filter [role=status]") == ["3 of 66"]
    field.clear()
    field.send_keys("no such thing")
    assert browser.all(shown) == []


@pytest.mark.parametrize("kind", ["board", "index"])
def test_a_table_of_accuracies_can_be_filtered_too(
    browser: Any, page_of: Callable[[str], str], kind: str
) -> None:
    browser.open(page_of(kind))
    (first,) = browser.run(
        "return [document.querySelector('.accuracies').closest('.scroll').previousElementSibling]"
    )
    first.find_element("css selector", "input").send_keys("SYN")
    shown = "return [...document.querySelector('.accuracies').tBodies[0].rows].filter(row => !row.hidden)"
    assert [row.text.split()[0] for row in browser.run(shown)] == ["synflow"]
    assert first.find_element("css selector", "[role=status]").text == "1 of 5"


def test_the_legend_takes_rows_away_and_brings_them_back(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    assert len(browser.all(LINES)) == 4
    box = browser.all(".legend input[value=snip]")[0]
    box.click()
    browser.until(lambda: len(browser.all(LINES)) == 3)
    box.click()
    browser.until(lambda: len(browser.all(LINES)) == 4)
    all_of_them, none = browser.all(".legend button")
    none.click()
    browser.until(lambda: not browser.all(LINES))
    all_of_them.click()
    browser.until(lambda: len(browser.all(LINES)) == 4)


def test_the_axis_may_be_effective_compression(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    lines = "return [...document.querySelectorAll(arguments[0])].map(each => each.getAttribute('d'))"
    before = browser.run(lines, LINES)
    browser.all(".axis input[value=effective]")[0].click()
    browser.until(lambda: browser.run(lines, LINES) != before)
    browser.all(".axis input[value=compression]")[0].click()
    browser.until(lambda: browser.run(lines, LINES) == before)


def test_accuracy_is_drawn_against_cost_at_the_chosen_compression(
    browser: Any, page_of: Callable[[str], str]
) -> None:
    browser.open(page_of("board"))
    points = "return [...document.querySelectorAll(arguments[0])].map(each => each.getAttribute('transform'))"
    drawn = "figure[data-chart=cost] .mark-symbol path[aria-roledescription=point]"
    before = browser.run(points, drawn)
    assert len(before) == 4
    browser.all("[data-signal=at] input[value='50']")[0].click()
    browser.until(lambda: browser.run(points, drawn) != before)
    browser.all("[data-signal=at] input[value='10']")[0].click()
    browser.until(lambda: browser.run(points, drawn) == before)


def test_the_gray_line_leads_over_the_rows_that_are_shown(
    browser: Any, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    heights = {"snip": 0.5, "set": 0.6, "magnitude": 0.7}
    records = [make_record(row, 10, top1=heights[row], cost=price) for row, price in PRICES.items()]
    page = tmp_path / "board.html"
    page.write_text(render(build_leaderboard(records), "html"), encoding="utf-8")
    line = f"return document.querySelector('{COST} .mark-line path')?.getAttribute('d') ?? ''"

    def labels() -> set[str]:
        return {*browser.texts(f"{COST} .mark-text.role-mark text")} - {""}

    browser.open(page.as_uri(), width=1280)
    browser.until(lambda: labels() == set(PRICES))
    before = browser.run(line)
    box = browser.all(".legend input[value=magnitude]")[0]
    box.click()
    browser.until(lambda: labels() == {"snip", "set"})
    assert browser.run(line) not in (before, "")
    browser.all(".legend button")[1].click()
    browser.until(lambda: labels() == set())
    assert browser.run(line) == ""


def test_on_a_phone_a_label_of_a_row_lies_over_no_axis(
    browser: Any, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    records = [make_record(row, 10, top1=0.5 + price / 10, cost=price) for row, price in PRICES.items()]
    records.append(make_record("letter-" * 8 + "z", 10, top1=0.95, cost=5.0))
    page = tmp_path / "board.html"
    page.write_text(render(build_leaderboard(records), "html"), encoding="utf-8")
    browser.open(page.as_uri(), width=390)
    left = """
        return [...document.querySelectorAll(arguments[0])]
          .filter(each => each.textContent).map(each => each.getBoundingClientRect().left)
    """
    (line,) = browser.run(left.replace(".filter(each => each.textContent)", ""), f"{COST} .mark-line path")
    labels = browser.run(left, f"{COST} .mark-text.role-mark text")
    assert labels
    assert min(labels) > line - 28, "the padding of the scale"


def test_a_budget_leaves_out_what_costs_more(
    browser: Any, tmp_path: Path, make_record: Callable[..., Record]
) -> None:
    records = [make_record(row, at, cost=price) for row, price in PRICES.items() for at in (2, 10)]
    page = tmp_path / "board.html"
    page.write_text(render(build_leaderboard(records), "html"), encoding="utf-8")
    browser.open(page.as_uri())
    assert len(browser.all(LINES)) == 3
    browser.all("[data-signal=budget] input[value='1']")[0].click()
    browser.until(lambda: len(browser.all(LINES)) == 2)
    browser.all("[data-signal=budget] input[value='0']")[0].click()
    browser.until(lambda: len(browser.all(LINES)) == 3)


def test_a_point_says_what_it_is_and_its_row_stands_out(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    symbols = browser.all("figure[data-chart=board] .mark-symbol path[aria-roledescription=point]")
    assert len(symbols) == 4 * 5
    browser.run("document.querySelector('figure.chart').scrollIntoView()")
    ActionChains(browser.driver).move_to_element(symbols[0]).perform()
    browser.until(lambda: "synflow" in " ".join(browser.texts("#vg-tooltip-element.visible")))
    opacity = (
        "return [...document.querySelectorAll(arguments[0])].map(each => each.getAttribute('opacity') ?? '1')"
    )
    browser.until(lambda: sorted(browser.run(opacity, LINES)) == ["0.2", "0.2", "0.2", "1"])


OPACITY = (
    "return [...document.querySelectorAll(arguments[0])].map(each => each.getAttribute('opacity') ?? '1')"
)
FIRST_PICKED = ["0.2", "0.2", "0.2", "1"]


def picked(browser: Any) -> set[str]:
    return set(browser.run("return [...document.querySelectorAll('tr.picked')].map(row => row.dataset.row)"))


def test_a_click_on_a_row_highlights_its_curve_and_stays_in_the_address(
    browser: Any, page_of: Callable[[str], str]
) -> None:
    browser.open(page_of("board"))
    click = "document.querySelector('.accuracies tr[data-row=snip] td').click()"
    browser.run(click)
    browser.until(lambda: sorted(browser.run(OPACITY, LINES)) == FIRST_PICKED)
    assert picked(browser) == {"snip"}
    assert browser.texts(".legend .picked") == ["snip"]
    url = browser.driver.current_url
    assert url.endswith("#row=snip")
    browser.open(url)
    browser.until(lambda: sorted(browser.run(OPACITY, LINES)) == FIRST_PICKED)
    browser.run(click)
    browser.until(lambda: set(browser.run(OPACITY, LINES)) == {"1"})
    assert "#" not in browser.driver.current_url


def test_a_click_on_a_curve_highlights_its_row(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    browser.run("document.querySelector('figure.chart').scrollIntoView()")
    symbols = browser.all("figure[data-chart=board] .mark-symbol path[aria-roledescription=point]")
    ActionChains(browser.driver).move_to_element(symbols[0]).click().perform()
    browser.until(lambda: picked(browser) == {"synflow"})


def test_a_box_highlights_its_row_when_it_is_ticked_and_a_name_with_markup_survives_the_address(
    browser: Any, page_of: Callable[[str], str]
) -> None:
    browser.open(page_of("board"))
    browser.all(".legend button")[1].click()
    browser.run(
        "[...document.querySelectorAll('.legend input')].find(each => each.value.includes('img')).click()"
    )
    (label,) = picked(browser)
    assert label == "snip[note=<script>alert(1)</script></script><img src=x onerror=alert(2)>]"
    browser.open(browser.driver.current_url)
    assert picked(browser) == {label}


def test_six_settings_have_a_diagram_profiles_and_ranks(
    browser: Any, six_settings: Leaderboard, tmp_path: Path
) -> None:
    file = tmp_path / "board.html"
    file.write_text(render(six_settings, "html"), encoding="utf-8")
    for width in (1280, 390):
        browser.open(file.as_uri(), width=width)
        assert browser.logs()[0] == []
        assert browser.run("return document.documentElement.scrollWidth") <= width
        drawn = browser.texts("[data-chart=difference] svg text")
        assert {"synflow", "snip", "random"} <= set(drawn)
        assert len(browser.all("[data-chart=ranks][data-drawn]")) == 1
        assert len(browser.all("[data-chart=profile][data-drawn]")) == 1


def test_light_and_dark_follow_the_reader_then_the_button_and_are_remembered(
    browser: Any, page_of: Callable[[str], str]
) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    browser.open(page_of("index"), dark=True)
    dark = browser.run(paper)
    browser.open(page_of("index"))
    light = browser.run(paper)
    assert light != dark
    browser.all(".theme")[0].click()
    assert browser.run(paper) == dark
    browser.driver.refresh()
    assert browser.run(paper) == dark
    browser.run("localStorage.clear()")


def test_definitions_are_one_click_away(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    browser.all(".accuracies thead a.term[href$=auc]")[0].click()
    browser.until(lambda: browser.driver.current_url.endswith("definitions.html#auc"))
    assert browser.texts(":target + dd")[0].startswith(
        "The area under the curve of accuracy against log compression"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_names_with_markup_are_text(browser: Any, page_of: Callable[[str], str], kind: str) -> None:
    browser.open(page_of(kind))
    assert browser.all("main img, main script:not([type='application/json'])") == []
    if kind in {"index", "board", "failed"}:
        assert "<script>alert(1)</script></script><img src=x onerror=alert(2)>" in browser.texts("main")[0]


def test_a_tooltip_shows_markup_as_text(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"))
    browser.all(".legend button")[1].click()
    browser.run(
        "[...document.querySelectorAll('.legend input')].find(each => each.value.includes('img')).click()"
    )
    point = "figure[data-chart=board] .mark-symbol path[aria-roledescription=point]"
    browser.until(lambda: len(browser.all(point)) == 5)
    browser.run("document.querySelector('figure.chart').scrollIntoView()")
    ActionChains(browser.driver).move_to_element(browser.all(point)[2]).perform()
    browser.until(lambda: "<img src=x" in " ".join(browser.texts("#vg-tooltip-element.visible")))
    assert browser.all("#vg-tooltip-element img") == []


def test_without_javascript_the_tables_are_there_and_nothing_dead_is(
    browser: Any, page_of: Callable[[str], str], site: Path
) -> None:
    browser.open(page_of("board"), scripts=False)
    tables = browser.all("table")
    assert len(tables) == 3
    assert all(table.is_displayed() for table in tables)
    assert "the table has its numbers" in browser.all("noscript")[0].text
    assert not any(each.is_displayed() for each in browser.all("figure, .filter, .sort, .theme, .legend"))


def test_the_tables_of_a_board_fit_a_laptop(browser: Any, page_of: Callable[[str], str]) -> None:
    browser.open(page_of("board"), width=1280)
    sizes = (
        "return [...document.querySelectorAll('.scroll')].map(each => [each.clientWidth, each.scrollWidth])"
    )
    assert [(shown, needed) for shown, needed in browser.run(sizes) if shown < needed] == []


def test_the_page_of_the_boards_works_as_one_file(
    browser: Any, records: list[Record], tmp_path: Path
) -> None:
    file = tmp_path / "board.html"
    file.write_text(render(build_leaderboard(records), "html"), encoding="utf-8")
    browser.open(file.as_uri())
    said, asked = browser.logs()
    assert said == []
    assert [
        url for url in asked if url not in {file.as_uri(), "about:blank"} and not url.startswith("data:")
    ] == []
    assert browser.all(".accuracies thead .sort")
    browser.all(".accuracies thead a.term[href$=auc]")[0].click()
    assert browser.texts(":target + dd")[0].startswith("The area under the curve")


@pytest.fixture(scope="module")
def chart(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a chart that has a row whose label is markup."""
    page = build_leaderboard([each for each in records if each.cell.setting.dataset == "cifar10"])
    file = tmp_path_factory.mktemp("charts") / "chart.html"
    file.write_bytes(chart_bytes(accuracy_figure(page), file))
    return file.as_uri()


def test_a_chart_is_drawn_offline_and_a_label_of_markup_is_text(browser: Any, chart: str) -> None:
    browser.open(chart)
    browser.until(lambda: len(browser.all(".mark-line path")) >= 4)
    said, asked = browser.logs()
    assert said == [], said
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
    # A dialog would have made every command above fail.
    assert browser.run("return document.querySelectorAll('script, img').length") == 3
    assert any(text.startswith("snip[note=<script>alert(1)") for text in browser.texts("svg text"))
    assert browser.texts(".vega-actions a") == ["Save as SVG", "Save as PNG"]


@pytest.mark.parametrize("width", [1280, 1440])
def test_the_first_screen_of_a_desktop_has_every_answer(
    browser: Any, page_of: Callable[[str], str], width: int
) -> None:
    browser.open(page_of("index"), width=width)
    browser.run("scrollTo(0, 0)")
    bottom = browser.run("return document.querySelector('.answers').getBoundingClientRect().bottom")
    assert 0 < bottom < 700


@pytest.mark.parametrize("kind", ["index", "claims", "board"])
def test_paper_has_the_tables_without_what_is_clicked(
    browser: Any, page_of: Callable[[str], str], kind: str
) -> None:
    browser.open(page_of(kind), dark=True)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    shown = "return [...document.querySelectorAll(arguments[0])].filter(each => each.offsetParent).length"
    assert browser.run(shown, ".top, .filter, .sort, .legend input, .theme") == 0
    assert browser.run(shown, "table") == len(browser.all("table"))
    box = "return document.querySelector(arguments[0])?.getBoundingClientRect().toJSON()"
    heading, above = (browser.run(box, each) for each in ("h1", ".crumbs"))
    assert above is None or above["bottom"] <= heading["top"]
    assert browser.run("return getComputedStyle(document.body).color") == "rgb(29, 35, 41)"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    browser.run("dispatchEvent(new Event('afterprint'))")
