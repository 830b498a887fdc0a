"""Hooks of MkDocs: the command line with every command imported, and links to papers."""

from __future__ import annotations

import re
import sys

import click

from synflow_bench.cli.app import NAME, LazyCommand, command_line

_PAPER = re.compile(r"arXiv\s+(\d{4}\.\d{5})(?!</a>)")


def _loaded() -> click.Group:
    """Return the command line without the commands of other distributions, which only some machines have."""
    group = command_line()
    names = group.list_commands(click.Context(group, info_name=NAME))
    known = {name: group.commands.pop(name) for name in names}
    for name, command in known.items():
        if isinstance(command, LazyCommand) and command.reference.startswith("synflow_bench"):
            group.add_command(command.load(), name)
    return group


commands = _loaded()
sys.modules["mkdocs_hooks"] = sys.modules[__name__]  # the name by which mkdocs-click imports it


def on_page_content(html: str, **_: object) -> str:
    """Link the arXiv numbers in docstrings."""
    return _PAPER.sub(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>', html)
