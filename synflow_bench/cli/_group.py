"""The group of all commands: ours by a table, so that help imports none of them, then those of plugins."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from synflow_bench.cli._loading import load_host
from synflow_bench.errors import UnknownNameError

BUILT_IN = {
    "run": "Prune, train and record what a suite asks for",
    "leaderboard": "Rank the recorded pruners: accuracy against compression, with intervals over seeds",
    "show": "Show the record whose KEY this is, or begins like this",
    "list": "List the installed pruners, models, datasets, suites, executors or loggers",
    "plugins": "List the installed plugins, what they provide, and why one may not take part",
    "check": "Check that pruners, models and data sets keep the contract",
    "new-plugin": "Write a small distribution with a plugin of your own",
    "data": "Say which data sets are here, and fetch the others",
    "bench": "Measure this machine: training, evaluation and pruning of the networks of the installed suites",
    "profile": "Say where the time of one cell goes",
    "study": "Study what pruning does to networks, as a table and a chart",
    "reproduce": "Reproduce a figure of the SynFlow paper, at its scale or a small one",
    "results": "List what is recorded, and describe the files",
}
"""Each in the module of its name, as `command`, with the same help."""


class LazyCommand(click.Command):
    """A command of ours before it is imported: its name and one line of help."""

    def load(self) -> click.Command:
        """Import the command itself."""
        module = str(self.name).replace("-", "_")
        command: click.Command = import_module(f"synflow_bench.cli.{module}").command
        return command


class CommandLine(click.Group):
    """Commands of ours, and of plugins: asked for only where a name is not ours, or all are listed."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.commands.update({name: LazyCommand(name, short_help=line) for name, line in BUILT_IN.items()})
        self._joined = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names: ours in the order of the table, then those of plugins."""
        self._join(ctx)
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; of ours, one that is not imported yet."""
        if cmd_name not in self.commands:
            self._join(ctx)
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is to run, imported; raises `UnknownNameError` where there is none."""
        command = self.get_command(ctx, args[0])
        if isinstance(command, LazyCommand):
            return args[0], command.load(), args[1:]
        if not ctx.resilient_parsing:
            load_host(ctx)
            if command is None:
                raise UnknownNameError("command", args[0], self.commands)
        return args[0] if command else None, command, args[1:]

    def _join(self, ctx: click.Context) -> None:
        if not self._joined:
            self._joined = True
            load_host(ctx, check=False).commands(self)
