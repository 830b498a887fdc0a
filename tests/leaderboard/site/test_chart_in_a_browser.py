"""A chart for a paper as a page, in a real browser."""

from __future__ import annotations

from typing import Any

import pytest

from synflow_bench.charts import chart_bytes
from synflow_bench.leaderboard import build_leaderboard
from synflow_bench.leaderboard.site import accuracy_figure
from synflow_bench.records import Record

pytestmark = pytest.mark.slow


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
    assert any(text.startswith("<script>alert(1)") for text in browser.texts("svg text"))
    assert browser.texts(".vega-actions a") == ["Save as SVG", "Save as PNG"]
