"""How the command line starts: quickly, without torch, and with errors of one line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest

import synflow_bench
from synflow_bench.cli._group import BUILT_IN
from synflow_bench.errors import UsageError

SPY = """
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
        (["--help"], ["torch", "numpy", "pydantic", "rich"]),
        (["--version"], ["torch", "numpy", "pydantic", "rich"]),
        (["list", "pruners"], ["torch", "numpy", "pydantic", "rich"]),
        (["list", "suites", "--json"], ["torch", "numpy", "pydantic", "rich"]),
        (["plugins"], ["torch", "numpy", "pydantic", "rich"]),
        (["results", "schema"], ["torch", "numpy"]),
        (["results", "list", "--results", "nowhere"], ["torch"]),
        (["leaderboard", "--help"], ["torch"]),
        (["show", "--help"], ["torch"]),
        (["run", "--help"], ["torch"]),
        (["study", "--help"], ["torch", "altair"]),
        (["reproduce", "--help"], ["torch", "altair"]),
        (["data", "list"], ["torch"]),
    ],
)
def test_what_is_not_needed_is_not_imported(launch, arguments, unneeded):
    outcome = launch(*arguments, code=SPY)
    assert outcome.code == 0, outcome.err
    modules = json.loads(outcome.err.splitlines()[-1])
    assert [name for name in unneeded if name in modules] == []


@pytest.mark.parametrize("arguments", [["--help"], ["list", "pruners"]])
def test_it_starts_in_a_third_of_a_second(arguments):
    assert any(cpu_seconds(*arguments) < 0.3 for _ in range(5))


def cpu_seconds(*arguments: str) -> float:
    """Processor time, which a busy machine changes less than the clock's."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "synflow_bench", *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_table_tells_the_help_of_the_real_command(name):
    command = import_module(f"synflow_bench.cli.{name.replace('-', '_')}").command
    assert isinstance(command, click.Command)
    assert command.name == name
    assert command.get_short_help_str(limit=1000).rstrip(".") == BUILT_IN[name]


def test_help_shows_our_commands_and_those_of_plugins(distribution, invoke):
    distribution("third", GREET)
    outcome = invoke("--help")
    assert outcome.code == 0
    shown = [
        line.split()[0] for line in outcome.out.partition("Commands:")[2].splitlines() if line[2:3].strip()
    ]
    assert shown == [*BUILT_IN, "greet"]
    assert "Say hello" in outcome.out


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_plugin_s_command_runs_with_its_exit_code(distribution, invoke, code):
    distribution("third", GREET)
    outcome = invoke("greet", "--code", str(code))
    assert (outcome.code, outcome.out) == (code, "hello\n")


def test_a_faulty_plugin_stops_the_commands_of_others_but_not_help(distribution, invoke):
    distribution("third", GREET)
    distribution("faulty", "@hookimpl\ndef synflow_bench_pruner(): ...")
    assert invoke("--help").code == 0
    outcome = invoke("greet")
    assert outcome.code == 2
    assert outcome.err.startswith("error: plugin 'faulty' of faulty 1.0: unknown hook")


def test_no_command_shows_help(invoke):
    outcome = invoke()
    assert outcome.code == 2
    assert "Commands:" in outcome.err


def test_the_version_is_that_of_the_package(invoke):
    assert invoke("--version").out == f"synflow-bench {synflow_bench.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["lst"], "unknown command 'lst'; did you mean 'list'?"),
        (["xyzzy"], f"unknown command 'xyzzy'; known: {', '.join(sorted(BUILT_IN))}"),
        (["--foo"], "no such option '--foo'; see `synflow-bench --help`"),
        (
            ["list", "pruners", "more"],
            "got unexpected extra argument (more); see `synflow-bench list --help`",
        ),
        (["list"], "missing argument 'KIND'"),
    ],
)
def test_a_wrong_use_is_one_line(invoke, arguments, line):
    outcome = invoke(*arguments)
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith(f"error: {line}")
    assert outcome.err.count("\n") == 1


def test_an_error_that_the_user_can_mend_is_one_line(distribution, invoke):
    distribution("third", failing("UsageError('no such\\nthing')"))
    outcome = invoke("fail")
    assert (outcome.code, outcome.out, outcome.err) == (2, "", "error: no such thing\n")


@pytest.mark.parametrize("arguments", [["--debug", "fail"], ["fail", "--debug"]])
def test_debug_shows_its_traceback_wherever_it_stands(distribution, invoke, arguments):
    distribution("third", failing("UsageError('no such thing')"))
    outcome = invoke(*arguments)
    assert outcome.code == 2
    assert outcome.err.startswith("Traceback (most recent call last)")
    assert outcome.err.endswith(f"{UsageError.__module__}.UsageError: no such thing\nerror: no such thing\n")


def test_any_other_error_keeps_its_traceback(distribution, invoke):
    distribution("third", failing("ZeroDivisionError('ours')"))
    with pytest.raises(ZeroDivisionError, match="ours"):
        invoke("fail")


def test_an_interruption_exits_with_130(distribution, invoke):
    distribution("third", failing("KeyboardInterrupt"))
    outcome = invoke("fail")
    assert outcome.code == 130
    assert outcome.err.strip() == "error: interrupted"


@pytest.mark.parametrize("arguments", [["list", "models"], ["list", "models", "--json"], ["--help"]])
def test_a_closed_pipe_is_quiet(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "synflow_bench", *arguments], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert done.stderr == ""


def test_the_script_and_the_module_are_one(launch):
    script = Path(sys.executable).parent / "synflow-bench"
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert done.stdout == launch("--version").out
