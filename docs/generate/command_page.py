"""Every command and option of the command line."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click
from prose import code, fenced, prose, table

from synflow_bench.cli._app import NAME, command_line
from synflow_bench.cli._group import BUILT_IN, LazyCommand

HEAD = """# Commands

Exit codes: 0 is success, 1 that some cells failed or a check did, 2 wrong usage, 130 an interruption.
What `--json` prints is alone on stdout. `--debug`, before or after a command, shows the traceback of
every error.
"""


def commands_page() -> str:
    """The page; commands of other people's plugins are left out."""
    root = command_line()
    context = click.Context(root, info_name=NAME)
    commands = [(name, root.get_command(context, name)) for name in BUILT_IN]
    sections = [
        section
        for name, command in commands
        if command is not None
        for section in _sections(
            command.load() if isinstance(command, LazyCommand) else command, name, context
        )
    ]
    return "\n\n".join([HEAD.rstrip(), *sections]) + "\n"


def _sections(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [
        f"## {context.command_path}",
        fenced(usage, "text"),
        _about(inspect.cleandoc(command.help or "")),
    ]
    if rows := list(_options(command, context)):
        parts.append(table(["option", "what it does", "default"], rows))
    yield "\n\n".join(part for part in parts if part)
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        yield from _sections(each, str(each.name), context)


def _about(text: str) -> str:
    """Help as paragraphs; where click is told to keep the lines, so does the page."""
    kept = [part.removeprefix("\b\n") for part in text.split("\n\n")]
    said = zip(text.split("\n\n"), kept, strict=True)
    return "\n\n".join(fenced(lines, "text") if part != lines else prose(part) for part, lines in said)


def _options(command: click.Command, context: click.Context) -> Iterator[list[str]]:
    for option in command.params:
        if isinstance(option, click.Option):
            names = "/".join([*option.opts, *option.secondary_opts])
            value = "" if option.is_flag else f" {option.make_metavar(context)}"
            yield [code(names + value), prose(option.help or ""), _default(option)]


def _default(option: click.Option) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    shown = option.show_default and not option.is_flag and option.default is not None
    return code(option.default) if shown else ""
