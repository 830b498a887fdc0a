"""The entrance: arguments in, exit code out, and errors as one line each."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import click

from synflow_bench import __version__
from synflow_bench.cli._group import CommandLine
from synflow_bench.cli._loading import load_host
from synflow_bench.errors import HandledError

__all__ = ["NAME", "command_line", "load_host", "main"]

NAME = "synflow-bench"
INTERRUPTED = 130
DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; `arguments` are those of the process unless given.

    What the user can mend is one line on stderr, below the traceback if `--debug` is anywhere among the
    arguments; any other exception is not caught.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = command_line().main([word for word in given if word != DEBUG], NAME, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _fail(_usage(error), error.exit_code)
    except click.Abort:
        return _fail("interrupted", INTERRUPTED)
    except HandledError as error:
        if DEBUG in given:
            traceback.print_exception(error)
        return _fail(str(error), error.exit_code)
    return result if type(result) is int else 0


def command_line() -> click.Group:
    """A fresh command line, which plugins may add to."""
    debug = click.Option([DEBUG], is_flag=True, expose_value=False, help="Show the traceback of every error.")
    group = CommandLine(NAME, params=[debug], help="Benchmark neural-network pruning at initialization.")
    version = click.version_option(__version__, prog_name=NAME, message="%(prog)s %(version)s")
    return version(group)


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    hint = f"; see `{context.command_path} --help`" if context else ""
    return f"{message[:1].lower()}{message[1:]}{hint}"


def _fail(message: str, code: int) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return code
