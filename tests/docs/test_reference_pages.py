"""The reference agrees with the code, and the pages build."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import DOCS, PAGES, ROOT

GENERATE = [sys.executable, "docs/generate"]
BUILT_IN = ["run", "leaderboard", "show", "list", "plugins", "check", "new-plugin", "data download"]
BUILT_IN += ["results import", "study", "reproduce"]


def rendered(page: str) -> set[str]:
    """The names that mkdocstrings renders on a page of the reference."""
    text = (DOCS / "reference" / page).read_text(encoding="utf-8")
    return set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))


def test_every_hook_and_every_public_name_is_rendered() -> None:
    import synflow_bench
    from synflow_bench.host import hookspecs

    hooks = {f"synflow_bench.host.hookspecs.{name}" for name in hookspecs.HOOKS}
    assert hooks <= rendered("hooks.md")
    names = set(synflow_bench.__all__) - {"__version__", "HandledError", "hookimpl"}
    assert {f"synflow_bench.{name}" for name in names} <= rendered("api.md")
    assert {"synflow_bench.testing", "synflow_bench.errors"} <= rendered("api.md")


def test_every_pruner_model_and_dataset_of_ours_has_a_row() -> None:
    from synflow_bench.host import Host

    host = Host.load()
    for kind, registry in {"pruners": host.pruners, "models": host.models, "datasets": host.datasets}.items():
        page = (DOCS / "reference" / f"{kind}.md").read_text(encoding="utf-8")
        ours = [e.name for e in registry.entries() if e.distribution == "synflow-bench"]
        assert ours
        assert [name for name in ours if f"`{name}`" not in page] == []


def test_no_page_holds_an_address_or_a_path_of_this_machine() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert not re.search(r"0x[0-9a-f]{6,}|<function|<class '|/home/|/work/", text)


@pytest.mark.slow
def test_the_pages_are_what_the_code_gives() -> None:
    done = subprocess.run([*GENERATE, "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_page_that_is_not_is_named_and_written_again(tmp_path: Path) -> None:
    shutil.copytree(DOCS, tmp_path / "docs")
    page = tmp_path / "docs" / "reference" / "suites.md"
    fresh = page.read_text(encoding="utf-8")
    page.write_text(fresh.replace("`recipe`", "`recipes`"), encoding="utf-8")
    done = subprocess.run([*GENERATE, "--check"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (1, "docs/reference/suites.md is stale; run `make reference`\n")
    subprocess.run(GENERATE, cwd=tmp_path, check=True)
    assert page.read_text(encoding="utf-8") == fresh


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(
        r"<(?:script|img|iframe)[^>]+src=\"?https?:|<link[^>]+(?:stylesheet|preconnect)[^>]+https?:"
    )
    assert not [page for page in pages if loaded.search(page.read_text(encoding="utf-8"))]
    assert not list(tmp_path.rglob("generate*"))
    commands = (tmp_path / "reference" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in BUILT_IN if f"synflow-bench {name}" not in commands] == []
    assert "at 0x" not in "".join(page.read_text(encoding="utf-8") for page in pages)


def test_the_boards_that_the_site_adds_are_linked() -> None:
    start, page = DOCS / "index.md", DOCS / "explanation" / "all-pruners.md"
    assert 'href="leaderboard/index.html"' in start.read_text(encoding="utf-8")
    assert 'href="../leaderboard/index.html"' in page.read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation_or_linked_from_an_index() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    decisions = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS) for page in DOCS.rglob("*.md")]
    assert [page for page in pages if page.as_posix() not in navigation and page.name not in decisions] == []
