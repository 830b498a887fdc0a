"""The code blocks, files and commands that the documentation shows, and a parser for the commands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click

from synflow_bench.cli.app import NAME, LazyCommand, command_line

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *DOCS.rglob("*.md"),
        *ROOT.glob("*/**/README.md"),
    ]
    if not {".venv", "site", "node_modules"} & set(page.relative_to(ROOT).parts)
)
_BLOCK = re.compile(r"^([ ]*)```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`(synflow-bench [^`]+)`")


def blocks(page: Path, language: str) -> Iterator[tuple[str, str]]:
    """The title and the text of each block of code in a language."""
    for indent, found, title, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if found == language:
            yield title, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def files(page: Path, language: str = "python") -> dict[str, str]:
    """The blocks with a title, by the name of their file."""
    return {title: text for title, text in blocks(page, language) if title}


def commands(page: Path) -> list[list[str]]:
    """Every `synflow-bench ...` that the page shows, as words."""
    text = page.read_text(encoding="utf-8")
    lines = [line for _, block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    found = [part.strip() for line in lines for part in line.split("&&")]
    found += _INLINE.findall(_BLOCK.sub("", text))
    return [shlex.split(line, comments=True) for line in found if line.startswith("synflow-bench ")]


def parse(words: list[str]) -> None:
    """Parse the words as the command line does, and run nothing."""
    command: click.Command = command_line()
    context = click.Context(command, info_name=NAME)
    left = words[1:]
    while isinstance(command, click.Group) and left and not left[0].startswith("-"):
        name, *left = left
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name!r}"
        command = found.load() if isinstance(found, LazyCommand) else found
        context = click.Context(command, info_name=name, parent=context)
    if isinstance(command, click.Group):
        assert {option for word in left for option in [word.partition("=")[0]]} <= {"--help", "--version"}
    elif left and left != ["--help"]:  # a name alone is a mention
        command.parse_args(context, left)
