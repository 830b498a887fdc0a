"""Write the tables of pruners, models, datasets and suites in docs/reference; `--check` names stale pages.

`make reference` runs `python docs/generate`, and `make docs` runs it with `--check`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from plugin_pages import datasets_page, models_page, pruners_page
from suite_page import suites_page

REFERENCE = Path(__file__).parents[1] / "reference"
PAGES: dict[str, Callable[[], str]] = {
    "datasets.md": datasets_page,
    "models.md": models_page,
    "pruners.md": pruners_page,
    "suites.md": suites_page,
}
NOTE = "<!-- Written by `make reference` from the code; edits here are lost. -->\n\n"


def main(arguments: list[str]) -> int:
    """Write every page; with `--check` write none, and return 1 if a page differs from the code."""
    pages = {REFERENCE / name: NOTE + page() for name, page in PAGES.items()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text]
    if "--check" in arguments:
        for path in stale:
            print(f"docs/reference/{path.name} is stale; run `make reference`", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(pages[path], "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
