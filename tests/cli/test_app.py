"""The command line as a whole: it starts quickly, finds its commands, and ends with errors of one line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest

import synflow_bench
from synflow_bench.cli.app import COMMANDS, LazyCommand, command_line

Run = Callable[..., Any]

IMPORTED = """
import json, sys
from synflow_bench.cli import main
code = main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.exit(code)
"""
GREET = """
    import click
    @hookimpl
    def synflow_bench_commands(group):
        @group.command()
        @click.option('--code', default=0)
        @click.pass_context
        def greet(ctx, code):
            'Say hello.'
            click.echo('hello')
            ctx.exit(code)
"""
HEAVY = ["torch", "numpy", "pydantic", "rich"]


def failing(error: str) -> str:
    return f"""
        import click
        from synflow_bench.errors import *
        @hookimpl
        def synflow_bench_commands(group):
            @group.command()
            def fail():
                raise {error}
    """


@pytest.mark.parametrize(
    ("arguments", "unneeded"),
    [
        (["--help"], HEAVY),
        (["--version"], HEAVY),
        (["list", "pruners"], HEAVY),
        (["list", "suites", "--json"], HEAVY),
        (["list", "--help"], HEAVY),
        (["plugins"], HEAVY),
        (["check", "--help"], HEAVY),
        (["new-plugin", "--help"], HEAVY),
        (["data", "list"], ["torch"]),
        (["results", "schema"], ["torch", "numpy"]),
        (["results", "list", "--results", "nowhere"], ["torch"]),
        (["leaderboard", "--help"], ["torch"]),
        (["show", "quick"], ["torch"]),
        (["run", "--help"], HEAVY),
        (["study", "--help"], ["torch", "altair"]),
        (["reproduce", "--help"], ["torch", "altair"]),
    ],
)
def test_only_what_a_command_needs_is_imported(
    launch: Run, arguments: list[str], unneeded: list[str]
) -> None:
    outcome = launch(*arguments, code=IMPORTED)
    assert outcome.code == 0, outcome.err
    modules = json.loads(outcome.err.splitlines()[-1])
    assert [name for name in unneeded if name in modules] == []


@pytest.mark.parametrize(
    "option",
    [
        "--pruner=sinflow",
        "--model=fcc",
        "--dataset=digit",
        "--suite=quik",
        "--suite=absent.toml",
        "--set=recipe.lrr=0.1",
        "--executor=locl",
    ],
)
def test_a_misspelled_name_of_a_run_is_an_error_before_torch_is_imported(launch: Run, option: str) -> None:
    outcome = launch("run", option, "--dry-run", code=IMPORTED)
    error, modules = outcome.err.splitlines()
    assert (outcome.code, error[:7]) == (2, "error: ")
    assert "torch" not in json.loads(modules)


@pytest.mark.parametrize("arguments", [["--help"], ["list", "pruners"]])
def test_it_starts_in_a_third_of_a_second(arguments: list[str]) -> None:
    assert any(cpu_seconds(*arguments) < 0.3 for _ in range(5))


def cpu_seconds(*arguments: str) -> float:
    """Return the processor time of a command, which depends less on other processes than wall-clock time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "synflow_bench", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_of_help_is_that_of_the_command(name: str) -> None:
    reference, line = COMMANDS[name]
    module, _, attribute = reference.partition(":")
    command = getattr(import_module(f"synflow_bench.cli.{module}"), attribute)
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=1000).rstrip(".") == line


def commands(group: click.Group, ctx: click.Context, *path: str) -> list[tuple[str, ...]]:
    """Return the words of every command, those in groups too."""
    found: list[tuple[str, ...]] = []
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        command = command.load() if isinstance(command, LazyCommand) else command
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, ctx, *path, name)
    return found


def test_the_help_of_every_command_fits_80_columns(invoke: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    group = command_line()
    with click.Context(group) as ctx:
        every = commands(group, ctx)
    assert {("results", "merge"), ("data", "download"), ("study",)} <= set(every)
    for words in [(), *every]:
        outcome = invoke(*words, "--help")
        assert outcome.code == 0
        usage, _, rest = outcome.out.partition("\n\n")
        assert [line for line in usage.splitlines() if len(line) > 80] == []
        assert [line for line in rest.splitlines() if len(line) > 80 or line.endswith("...")] == []


def test_help_lists_the_built_in_commands_and_those_of_plugins(distribution: Any, invoke: Run) -> None:
    distribution("third", GREET)
    outcome = invoke("--help")
    assert outcome.code == 0
    lines = outcome.out.partition("Commands:")[2].splitlines()
    assert [line.split()[0] for line in lines if line[2:3].strip()] == [
        *COMMANDS,
        "study",
        "reproduce",
        "greet",
    ]
    assert "Say hello" in outcome.out


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_command_of_a_plugin_runs_with_its_exit_code(distribution: Any, invoke: Run, code: int) -> None:
    distribution("third", GREET)
    outcome = invoke("greet", "--code", str(code))
    assert (outcome.code, outcome.out) == (code, "hello\n")


def test_an_invalid_plugin_stops_the_commands_of_plugins_but_not_help(distribution: Any, invoke: Run) -> None:
    distribution("third", GREET)
    distribution("faulty", "@hookimpl\ndef synflow_bench_pruner(): ...")
    assert invoke("--help").code == 0
    invoke("greet").assert_refused("'faulty'", "synflow_bench_pruner")


def test_no_command_shows_the_help(invoke: Run) -> None:
    outcome = invoke()
    assert outcome.code == 2
    assert "Commands:" in outcome.err


def test_the_version_is_that_of_the_package(invoke: Run) -> None:
    assert invoke("--version").out == f"synflow-bench {synflow_bench.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (["lst"], ["'lst'", "'list'"]),
        (["xyzzy"], ["'xyzzy'", *COMMANDS, "reproduce", "study"]),
        (["--foo"], ["--foo", "`synflow-bench --help`"]),
        (["list", "pruners", "more"], ["more", "`synflow-bench list --help`"]),
        (["list"], ["KIND"]),
        (["results", "lst"], ["lst"]),
    ],
)
def test_wrong_use_is_one_line(invoke: Run, arguments: list[str], facts: list[str]) -> None:
    invoke(*arguments).assert_refused(*facts)


def test_an_error_that_the_user_can_fix_is_one_line(distribution: Any, invoke: Run) -> None:
    distribution("third", failing("UsageError('no such\\nthing')"))
    outcome = invoke("fail")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "error: no such thing\n")


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    distribution: Any, invoke: Run, arguments: list[str]
) -> None:
    distribution("third", failing("UsageError('no such thing')"))
    outcome = invoke(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last)")
    assert outcome.err.endswith(".UsageError: no such thing\nerror: no such thing\n")


def test_any_other_error_keeps_its_traceback(distribution: Any, invoke: Run) -> None:
    distribution("third", failing("ZeroDivisionError('ours')"))
    with pytest.raises(ZeroDivisionError, match="ours"):
        invoke("fail")


def test_an_interrupt_exits_with_130(distribution: Any, invoke: Run) -> None:
    distribution("third", failing("KeyboardInterrupt"))
    outcome = invoke("fail")
    assert outcome.code == 130
    assert outcome.err.strip() == "error: interrupted"


@pytest.mark.parametrize("arguments", [["list", "models"], ["list", "models", "--json"], ["--help"]])
def test_a_closed_pipe_is_quiet(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "synflow_bench", *arguments], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert done.stderr == ""


def test_the_script_and_the_module_are_the_same(launch: Run) -> None:
    script = Path(sys.executable).parent / "synflow-bench"
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.stdout == launch("--version").out


def test_an_unknown_name_that_is_like_no_other_may_be_one_of_a_file(invoke: Run) -> None:
    unknown = invoke("run", "--pruner", "wholly-mine", "--dry-run")
    assert unknown.err.endswith("those of a file of your own need --plugin FILE\n")
    assert unknown.err.count("\n") == 1
    assert "--plugin" not in invoke("run", "--pruner", "synflw", "--dry-run").err
    assert "--plugin" not in invoke("study", "wholly-mine").err
