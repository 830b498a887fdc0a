"""Charts: a page stands alone and no text in it becomes markup; styles depend on names."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import altair as alt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench.charts import SHAPES, chart_bytes, mark_styles, script_json, titled

EVIL = "<script>alert(1)</script></ScRiPt ><!--<img src=x onerror=alert(2)>"


class Scripts(HTMLParser):
    """The tags of a page, what they link to, and the content of its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.scripts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in {"src", "href"} or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def page() -> str:
    values = [{"row": EVIL, "x": x, "y": x} for x in (1, 2)]
    chart = alt.Chart(alt.InlineData(values=values)).mark_line().encode(x="x:Q", y="y:Q", color="row:N")
    return chart_bytes(titled(chart, EVIL, [EVIL]), Path("chart.html")).decode()


def test_no_script_ends_before_its_own_end(page: str) -> None:
    assert len(re.findall("</script", page, re.IGNORECASE)) == 3
    assert len(re.findall("<script", page, re.IGNORECASE)) == 3
    assert "<!--" not in page
    assert "<img src=x" not in page


def test_the_chart_comes_through_whole_and_the_page_asks_for_nothing(page: str) -> None:
    parsed = Scripts(page)
    assert parsed.tags.count("script") == 3
    assert parsed.links == ["data:,"]
    assert json.loads(parsed.scripts[0])["title"]["text"] == EVIL


def test_the_menu_has_nothing_that_writes_the_source_unescaped_or_needs_a_network(page: str) -> None:
    assert '"source": false, "compiled": false, "editor": false' in page


def test_json_cannot_end_the_script_that_holds_it() -> None:
    hostile = {"</script><!--": ["<script>", "&amp;", "\u2028"]}
    text = script_json(hostile)
    assert not re.search("[<>&\u2028]", text)
    assert json.loads(text) == hostile


@given(st.sets(st.text(), max_size=40), st.text())
def test_a_color_depends_on_the_name_alone(names: set[str], name: str) -> None:
    assert mark_styles({*names, name})[name].color == mark_styles([name])[name].color


@given(st.sets(st.text(), max_size=40))
def test_names_of_one_color_differ_in_shape_while_there_are_shapes(names: set[str]) -> None:
    styles = list(mark_styles(names).values())
    for color in {style.color for style in styles}:
        shapes = [style.shape for style in styles if style.color == color]
        assert len(set(shapes)) == min(len(shapes), len(SHAPES))
