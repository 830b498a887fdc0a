"""Register the commands `study` and `reproduce` without importing them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synflow_bench.host import hookimpl

if TYPE_CHECKING:
    import click

COMMANDS = {
    "study": "Analyze networks under pruning, as a table and a chart",
    "reproduce": "Reproduce a figure of the SynFlow paper, at its scale or a small one",
}
"""One line of help per command: the same as in the command itself."""


@hookimpl
def synflow_bench_commands(group: click.Group) -> None:
    """Add both commands, each imported when it runs."""
    from synflow_bench.cli import LazyCommand

    for name, line in COMMANDS.items():
        group.add_command(LazyCommand(name, line, f"synflow_bench_studies.commands:{name}"))
