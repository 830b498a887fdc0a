"""One site with everything on it, and a browser to read it in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait

from synflow_bench.host import Description
from synflow_bench.leaderboard import Leaderboard, build_leaderboard, published_tables
from synflow_bench.records import Failure, Record, Result
from synflow_bench.site import write_site
from synflow_bench.suites import ModelSpec, Recipe, Setting

EVIL = "<script>alert(1)</script></script><img src=x onerror=alert(2)>"
COMPRESSIONS = (2.0, 5.0, 10.0, 20.0, 50.0)
LAYERS = tuple(f"linear{number}.weight" for number in range(1, 7))
METHODS = {
    "snip": Description(
        line="Keeps what matters",
        text=("By `rounds` rounds of it.", EVIL),
        paper='Lee, "SNIP", 2019, arXiv 1810.02340.',
        parameters={"rounds": "1"},
        meanings={"rounds": "The number of rounds."},
    ),
    "not-on-any-board": Description(line="Nothing"),
}
HEIGHTS = {"synflow": 0.9, "snip": 0.8, "random": 0.6, "snip[rounds=2]": 0.7}
"""BoardRow -> its accuracy at compression 1, before a little noise."""


@pytest.fixture(scope="session")
def records(make_record: Callable[..., Record]) -> list[Record]:
    """Two settings with ranks, a preliminary board, an ablation, a failure, and names with markup."""

    def setting(dataset: str) -> Setting:
        return Setting(
            dataset=dataset, model=ModelSpec(name="lottery/vgg16"), recipe=Recipe(epochs=3, lr=0.1)
        )

    made = []
    for dataset, seed in product(("cifar10", "digits"), range(3)):
        where = {"setting": setting(dataset), "seed": seed}
        made.append(make_record("dense", top1=0.95 + seed / 100, **where))
        for (row, height), value in product(HEIGHTS.items(), COMPRESSIONS):
            top1 = height - value / 200 + seed * (1 + len(row)) / 1000
            parameters = {"note": EVIL} if row.startswith("snip[") else None
            numbers = {
                "effective_compression": value * 1.5 if row == "snip" else value,
                "collapsed_layers": LAYERS if row == "random" and value == 50 else (),
            }
            made.append(make_record(row, value, top1=top1, parameters=parameters, **numbers, **where))
        made.append(make_record("snip", 10, top1=0.7, ablation="shuffle", **where))
    made += [make_record("snip", 5, setting=setting("small"), top1=0.5)]
    failed = make_record("grasp", 5, setting=setting("small"), status="failed", message=EVIL)
    error = Failure(kind="ScoreError", message=EVIL, traceback=f"Traceback\n  {EVIL}")
    return [*made, failed.model_copy(update={"error": error})]


@pytest.fixture(scope="session")
def site(records: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site of `records`."""
    output = tmp_path_factory.mktemp("pages") / "site"
    results = [Result.of(record) for record in records]
    leaderboard = build_leaderboard(results, published=published_tables())
    write_site(output, leaderboard, results, records, methods=METHODS)
    return output


@pytest.fixture(scope="session")
def six_settings(make_record: Callable[..., Record]) -> Leaderboard:
    """Six settings with ranks: one row is always last, and two take turns to be first."""
    made = []
    for number, seed in product(range(6), range(3)):
        setting = Setting(dataset=f"digits-{number}", model=ModelSpec(name="fc"), recipe=Recipe(epochs=3))
        heights = {"synflow": 0.8 + number % 2 / 100, "snip": 0.805, "random": 0.2 + number / 20}
        for (row, height), value in product(heights.items(), COMPRESSIONS):
            made.append(make_record(row, value, seed=seed, top1=height + seed / 1000, setting=setting))
    return build_leaderboard([Result.of(record) for record in made])


@pytest.fixture(scope="session")
def page_of(site: Path, records: list[Record]) -> Callable[..., str]:
    """The URL of a kind of page: `index`, `definitions`, `board`, `row`, `record`."""
    board = records[0].cell.setting.id
    paths = {
        "index": "index.html",
        "definitions": "definitions.html",
        "methods": "methods.html",
        "claims": "claims.html",
        "board": f"boards/{board}.html",
        "row": f"rows/{board}-1.html",
        "record": f"records/{records[1].key}.html",
        "failed": f"records/{records[-1].key}.html",
    }
    return lambda kind: (site / paths[kind]).as_uri()


class Browser:
    """A headless Chromium that keeps what pages say and ask for."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, *, width: int = 1200, dark: bool = False, scripts: bool = True) -> None:
        """Load a page, and wait until every chart is drawn."""
        tell = self.driver.execute_cdp_cmd
        size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 600}
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        tell("Emulation.setDeviceMetricsOverride", size)
        tell("Emulation.setEmulatedMedia", {"features": [theme]})
        tell("Emulation.setScriptExecutionDisabled", {"value": not scripts})
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(url)
        if scripts:
            self.run("localStorage.clear()")
            self.run("for (const each of document.querySelectorAll('details')) each.open = true")
            for figure in self.all("figure.chart"):
                self.run("arguments[0].scrollIntoView()", figure)
                self.until(lambda figure=figure: figure.get_attribute("data-drawn") is not None)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until `holds()`, ten seconds at most."""
        WebDriverWait(self.driver, 10, poll_frequency=0.02).until(lambda _: holds())

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[Any]:
        """The elements of a CSS selector."""
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """What the elements of a selector say."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(each => each.textContent.trim())",
            selector,
        )
        return found

    def logs(self) -> tuple[list[str], list[str]]:
        """Messages on the console, and URLs asked for, since the last call."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return said, [each["request"]["url"] for each in sent]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no browser here; install Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield Browser(started)
    started.quit()
