"""The site of 1,000 records: writing it, and opening its largest page in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from limits import check_seconds
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from synthetic import write_records

from synflow_bench.cli import main

RECORDS, SEEDS = 1000, 7
"""A thousand records of seven seeds make one board."""
SECONDS = 2
"""The limit for opening its page."""


def write_site(results: Path, site: Path) -> None:
    place = ["--results", str(results), "--output", str(site), "--force"]
    assert main(["leaderboard", "--format", "html", *place]) == 0


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of records; few of them where nothing is timed."""
    root = tmp_path_factory.mktemp("results")
    timed = request.config.getoption("--benchmark-enable")
    write_records(root, RECORDS if timed else 60, SEEDS)
    return root


@pytest.fixture(scope="module")
def page(results: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of the board's page, which has a line for every record."""
    site = tmp_path_factory.mktemp("pages") / "site"
    write_site(results, site)
    (board,) = site.glob("boards/*.html")
    return board.as_uri()


@pytest.fixture(scope="module")
def chromium() -> Iterator[webdriver.Chrome]:
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no browser here; install Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield started
    started.quit()


@pytest.mark.benchmark(group="site of 1,000 records")
def bench_writing_the_site(benchmark: Any, results: Path, tmp_path: Path) -> None:
    benchmark.pedantic(write_site, (results, tmp_path / "site"), rounds=2)
    assert sum(path.is_file() for path in (tmp_path / "site").rglob("*")) > 60


@pytest.mark.benchmark(group="site of 1,000 records")
def bench_opening_the_page_until_its_chart_is_drawn(
    benchmark: Any, chromium: webdriver.Chrome, page: str
) -> None:
    def open_page() -> None:
        chromium.get(page)
        drawn = "return document.querySelector('figure.chart[data-drawn]') !== null"
        WebDriverWait(chromium, 30, poll_frequency=0.01).until(lambda _: chromium.execute_script(drawn))

    benchmark.pedantic(open_page, rounds=7, warmup_rounds=1)
    check_seconds(benchmark, SECONDS)
    entry = "return performance.getEntriesByType('navigation')[0]"
    benchmark.extra_info["ms to the load event"] = round(chromium.execute_script(f"{entry}.loadEventEnd"))
    benchmark.extra_info["lines of records"] = chromium.execute_script(
        "return document.querySelectorAll('#records ~ .scroll tbody tr').length"
    )
