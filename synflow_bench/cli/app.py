"""The command line as a whole: its commands, its exit codes, and errors of one line each."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO

import click

from synflow_bench import __version__
from synflow_bench.cli.output import any_encoding, prints_to_stderr, say
from synflow_bench.errors import HandledError, UnknownNameError, printable_lines
from synflow_bench.signals import interrupted_by_signals

if TYPE_CHECKING:
    from synflow_bench.host import Host

NAME = "synflow-bench"
DEBUG = "--debug"
FIRST_PARTY = "--first-party-only"
INTERRUPTED = 130

PLUGIN_FILES = "synflow_bench.plugin_files"
"""The key in the context of the files that `--plugin` names."""
_HOST = "synflow_bench.host"

COMMANDS = {
    "run": ("run:command", "Prune, train and record the cells of a suite"),
    "status": ("status:command", "Show the runs of a results folder, and how far they are"),
    "leaderboard": ("leaderboard:command", "Rank pruners: accuracy against compression, over seeds"),
    "show": ("show:command", "Show a record, or the description of an installed name"),
    "export": ("export:command", "Export the trained network of a record, smaller where units are dead"),
    "score": ("score:command", "Score networks without training, by zero-cost proxies"),
    "list": ("plugins:list_installed", "List pruners, models, datasets, suites, executors or loggers"),
    "plugins": ("plugins:list_plugins", "List plugins, what they provide, and what is wrong with them"),
    "check": ("plugins:check", "Check pruners, models and datasets against the plugin contract"),
    "new-plugin": ("plugins:new_plugin", "Write a small distribution with a plugin of your own"),
    "data": ("data:command", "List and download datasets"),
    "results": ("results:command", "List, compare, export, import and verify records"),
}
"""The module and the attribute of each built-in command, and its line of help."""


def main(arguments: Sequence[str] | None = None, *, json_stream: TextIO | None = None) -> int:
    """Run one command.

    A `HandledError` is printed as one line on stderr, below its traceback if `--debug` is anywhere among the
    arguments. Any other exception is not caught. With `--first-party-only` anywhere, this process and those
    that it starts load no plugin of third parties.

    Args:
        arguments: The command and its options; by default those of the process.
        json_stream: The stream for JSON; by default stdout.

    Returns:
        The exit code: 0 for success, 1 for an outcome that is not clean, such as failed cells, 2 for a usage
        error, and 130 after an interrupt.

    Example:
        >>> from synflow_bench.cli import main
        >>> main(["--version"])  # doctest: +ELLIPSIS
        synflow-bench ...
        0
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with any_encoding(), interrupted_by_signals(), _plugins_blocked(FIRST_PARTY in given):
        return _run(given, json_stream)


def prints_json(arguments: Sequence[str]) -> bool:
    """Return True if a built-in command prints JSON: one of a plugin may write to stdout itself.

    Example:
        >>> prints_json(["--debug", "list", "pruners", "--json"]), prints_json(["list", "--json", "--help"])
        (True, False)
    """
    command = next((word for word in arguments if not word.startswith("-")), None)
    return command in COMMANDS and "--json" in arguments and "--help" not in arguments


@contextmanager
def _plugins_blocked(wanted: bool) -> Iterator[None]:
    """Block plugins of third parties in this process and in those that it starts."""
    if not wanted:
        yield
        return
    from synflow_bench.host import FIRST_PARTY_ONLY

    before = os.environ.get(FIRST_PARTY_ONLY)
    os.environ[FIRST_PARTY_ONLY] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FIRST_PARTY_ONLY]
        else:
            os.environ[FIRST_PARTY_ONLY] = before


def _run(given: list[str], json_stream: TextIO | None) -> int:
    words = [word for word in given if word not in (DEBUG, FIRST_PARTY)]
    try:
        result = command_line(json_stream).main(words, NAME, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _fail(_message(error), error.exit_code)
    except click.Abort:
        return _fail("interrupted", INTERRUPTED)
    except HandledError as error:
        if DEBUG in given:
            click.echo(printable_lines("".join(traceback.format_exception(error))), err=True)
        return _fail(f"{error}{_way_out(error)}", error.exit_code)
    return result if type(result) is int else 0


def command_line(json_stream: TextIO | None = None) -> click.Group:
    """Return a new command line, to which plugins may add commands; it prints JSON to `json_stream`."""
    debug = click.Option([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of every error.")
    trusted = click.Option(
        [FIRST_PARTY], is_flag=True, expose_value=False, help="Load no plugin but those of synflow-bench."
    )
    group = CommandLine(
        NAME, params=[debug, trusted], help="Benchmark neural-network pruning at initialization."
    )
    group.json_stream = json_stream
    version = click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
    return version(group)


def load_host(ctx: click.Context, check: bool = True) -> Host:
    """Return the plugins of this command line, loaded at the first call.

    Args:
        ctx: The context of the command.
        check: Raise an error if a plugin is invalid.

    Raises:
        PluginError: If a plugin is invalid.
    """
    from synflow_bench.host import Host

    host: Host | None = ctx.meta.get(_HOST)
    files = ctx.meta.get(PLUGIN_FILES, ())
    if host is None or host.files != files:  # a plugin's command is found before its `--plugin` is read
        with prints_to_stderr():
            host = ctx.meta[_HOST] = Host.load(files=files)
    if check:
        host.check()
    return host


class LazyCommand(click.Command):
    """A command before its import: its name, its line of help, and a reference such as "module:attribute"."""

    def __init__(self, name: str, line: str, reference: str) -> None:
        super().__init__(name, short_help=line)
        self.reference = reference

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.reference.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class CommandLine(click.Group):
    """The group of all commands. It loads plugins only to list all commands, or to find one of theirs."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        for name, (reference, line) in COMMANDS.items():
            self.commands[name] = LazyCommand(name, line, f"synflow_bench.cli.{reference}")
        self.json_stream: TextIO | None = None
        self._has_plugins = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all names: the built-in ones in the order of `COMMANDS`, then those of plugins."""
        self._add_plugins(ctx)
        return list(self.commands)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name, not imported yet if it is lazy."""
        if cmd_name not in self.commands:
            self._add_plugins(ctx)
        return self.commands.get(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the imported command that runs, with its name and its arguments.

        Raises:
            UnknownNameError: If no command has this name.
            PluginError: If the command is not built in and a plugin is invalid.
        """
        command = self.get_command(ctx, args[0])
        if isinstance(command, LazyCommand):
            return args[0], command.load(), args[1:]
        if not ctx.resilient_parsing:
            load_host(ctx)
            if command is None:
                raise UnknownNameError("command", args[0], self.commands)
        return args[0] if command else None, command, args[1:]

    def _add_plugins(self, ctx: click.Context) -> None:
        if not self._has_plugins:
            self._has_plugins = True
            host = load_host(ctx, check=False)
            with prints_to_stderr():
                host.commands(self)


def _message(error: click.ClickException) -> str:
    """Return a message of click in the style of our own, with the command that shows the help."""
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context else ""
    return f"{message[:1].lower()}{message[1:]}{hint}"


def _way_out(error: HandledError) -> str:
    """Return how to add a name that may be one of a file of the user's own."""
    from synflow_bench.host import KINDS

    if isinstance(error, UnknownNameError) and error.kind in KINDS and not error.is_guessed:
        return "; those of a file of your own need --plugin FILE"
    return ""


def _fail(message: str, code: int) -> int:
    say(f"error: {message}")
    return code
