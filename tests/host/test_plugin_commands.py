"""Plugins add commands; one that raises, or takes a name that is taken, is set aside."""

from __future__ import annotations

import click
import pytest

from synflow_bench.errors import PluginError


def commands(*names: str, after: str = "pass") -> str:
    lines = "\n".join(f"    group.add_command(click.Command({name!r}))" for name in names)
    return f"import click\n@hookimpl\ndef synflow_bench_commands(group):\n{lines}\n    {after}"


@pytest.fixture
def group() -> click.Group:
    return click.Group(commands={"run": click.Command("run")})


def test_commands_join_the_group(distribution, load, find, group):
    distribution("third", commands("one", "two"))
    host = load()
    host.commands(group)
    assert list(group.commands) == ["run", "one", "two"]
    assert find(host, "third").provides == {"command": ["one", "two"]}


def test_a_plugin_that_raises_adds_nothing(distribution, load, find, warnings, group):
    distribution("broken", commands("one", after="1 / 0"))
    distribution("third", commands("two"))
    host = load()
    host.commands(group)
    assert list(group.commands) == ["run", "two"]
    assert host.quarantined == (find(host, "broken"),)
    assert len([line for line in warnings if "ZeroDivisionError: division by zero" in line]) == 1


def test_strict_raises_here_too(distribution, load, group):
    distribution("broken", commands("one", after="1 / 0"))
    with pytest.raises(PluginError, match=r"plugin 'broken' of broken 1.0: ZeroDivisionError"):
        load(SYNFLOW_BENCH_STRICT="1").commands(group)


def test_a_command_of_ours_cannot_be_taken_over(distribution, load, group):
    distribution("third", commands("run"))
    ours = group.commands["run"]
    host = load()
    host.commands(group)
    assert group.commands["run"] is ours
    with pytest.raises(
        PluginError, match=r"third 1.0: command 'run' is also claimed by synflow-bench itself"
    ):
        host.check()


def test_two_plugins_cannot_share_a_command(distribution, load, group):
    distribution("alpha", commands("one"))
    distribution("beta", commands("one"))
    host = load()
    host.commands(group)
    assert "one" not in group.commands
    with pytest.raises(PluginError, match=r"command 'one' is also claimed by plugin 'beta' of beta 1.0"):
        host.check()
