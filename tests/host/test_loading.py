"""Loading plugins: a breach of the contract makes one invalid, an exception quarantines it, others go on."""

from __future__ import annotations

import click
import pytest

from synflow_bench import __version__
from synflow_bench.errors import PluginError
from synflow_bench.host import CONTRACT

DISABLE = "SYNFLOW_BENCH_DISABLE"
GOOD = "@hookimpl\ndef synflow_bench_pruners(): return {'good': object()}"


def pruners(value: str) -> str:
    return f"@hookimpl\ndef synflow_bench_pruners(): return {value}"


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("@hookimpl\ndef synflow_bench_pruner(): ...", "did you mean 'synflow_bench_pruners'?"),
        (
            "@hookimpl\ndef synflow_bench_cell_finished(recrd): ...",
            "synflow_bench_cell_finished() takes 'recrd'",
        ),
        (
            "@hookimpl\ndef synflow_bench_epoch_finished(cell, e, n): ...",
            "synflow_bench_epoch_finished() takes 'e', 'n'",
        ),
        ("@hookimpl\ndef synflow_bench_pruners(self): return {}", "synflow_bench_pruners() takes 'self'"),
        ("@hookimpl(wrapper=True)\ndef synflow_bench_pruners(): return {}", "wrapper=True"),
        ("def synflow_bench_pruners(): ...", "'synflow_bench_pruners' is not marked"),
        ("def pruners(): ...", "known: synflow_bench_pruners, "),
        (pruners("None"), "synflow_bench_pruners returned a NoneType"),
        (pruners("['mine']"), "synflow_bench_pruners returned a list"),
        (pruners("{'mine': None}"), "pruner 'mine' is None"),
        (pruners("{'mine': 'module'}"), "pruner 'mine' is 'module'"),
        (pruners("{'mine': 'module.py:Mine()'}"), "pruner 'mine' is 'module.py:Mine()'"),
        (pruners("{3: object()}"), "3 is not a pruner's name"),
        (pruners("{'My Own': object()}"), "'My Own' is not a pruner's name"),
        (pruners("{'../up': object()}"), "'../up' is not a pruner's name"),
        (pruners("{'dense': object()}"), "'dense' stands for the unpruned network"),
        ("@hookimpl\ndef synflow_bench_suites(): return {'mine': 'suites/mine.toml'}", "'suites/mine.toml'"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_invalid(distribution, load, find, warnings, code, fact):
    distribution("faulty", code, version="0.1")
    host = load()
    assert find(host, "faulty").status == "invalid"
    assert fact in find(host, "faulty").cause
    with pytest.raises(PluginError) as caught:
        host.check()
    assert str(caught.value).startswith(f"plugin 'faulty' of faulty 0.1: {find(host, 'faulty').cause}")
    assert DISABLE in str(caught.value)
    assert warnings == []


def test_dense_may_name_anything_but_a_pruner(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_models(): return {'dense': object()}")
    assert "dense" in load().models


def test_a_plugin_may_name_the_contract_that_it_follows(distribution, load):
    distribution("third", f"synflow_bench_contract = {CONTRACT}\n" + pruners("{'mine': object()}"))
    assert "mine" in load().pruners


def test_a_hook_may_take_fewer_arguments(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_epoch_finished(): ...")
    load().check()


def test_a_hook_may_have_arguments_of_its_own_with_defaults(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_pruners(cache={}): return {'mine': object()}")
    assert "mine" in load().pruners


def test_one_name_from_two_distributions_has_no_winner(distribution, load, find):
    distribution("alpha", pruners("{'mine': object(), 'only-alpha': object()}"))
    distribution("beta", pruners("{'mine': object()}"), version="2.0")
    host = load()
    assert [find(host, name).status for name in ("alpha", "beta")] == ["invalid", "invalid"]
    assert "mine" not in host.pruners
    with pytest.raises(PluginError, match=r"'alpha' of alpha 1.0: pruner 'mine' .* 'beta' of beta 2.0; "):
        host.check()
    assert len(host.errors) == 2


def test_blocking_one_of_the_two_settles_it(distribution, load, find):
    distribution("alpha", pruners("{'mine': object()}"))
    distribution("beta", pruners("{'mine': object()}"))
    host = load(SYNFLOW_BENCH_DISABLE="alpha")
    host.check()
    assert host.pruners.entry("mine").distribution == "beta"


def test_a_preset_cannot_be_taken_over(distribution, load):
    distribution("third", "@hookimpl\ndef synflow_bench_suites(): return {'quick': object()}")
    with pytest.raises(PluginError, match="suite 'quick'"):
        load().check()


def test_a_pruner_and_a_model_may_share_a_name(distribution, load):
    code = (
        pruners("{'mine': object()}") + "\n@hookimpl\ndef synflow_bench_models(): return {'mine': object()}"
    )
    distribution("third", code)
    load().check()


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        ("raise RuntimeError('on import,\\nin two lines')", "RuntimeError: on import, in two lines"),
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("raise SystemExit", "SystemExit"),
        ("@hookimpl\ndef synflow_bench_models(): 1 / 0", "ZeroDivisionError: division by zero"),
        ("synflow_bench_contract = 2", "it follows plugin contract 2, this synflow-bench 1;"),
    ],
)
def test_a_plugin_that_raises_is_quarantined(distribution, load, find, warnings, code, cause):
    distribution("broken", code, version="0.3")
    distribution("good", GOOD)
    host = load()
    host.check()
    assert find(host, "broken") in host.quarantined
    assert find(host, "broken").cause.startswith(cause)
    assert "good" in host.pruners
    (warning,) = (line for line in warnings if "broken" in line)
    assert warning.startswith(f"plugin 'broken' of broken 0.3 is quarantined: {find(host, 'broken').cause}; ")
    assert DISABLE in warning


@pytest.mark.parametrize(
    "requires",
    ["synflow-bench>=99", "synflow_bench [ray] (<0.0.1)", "Synflow.Bench==99; python_version > '3'"],
)
def test_a_distribution_for_another_version_is_quarantined_before_it_is_imported(
    distribution, load, find, requires
):
    distribution("ahead", "raise RuntimeError('on import')", requires=requires)
    plugin = find(load(), "ahead")
    wanted = requires.partition(";")[0]
    assert plugin.status == "quarantined"
    assert wanted in plugin.cause
    assert __version__ in plugin.cause


@pytest.mark.parametrize(
    "requires",
    [
        *("synflow-bench", f"synflow-bench>={__version__}", f"synflow-bench~={__version__}"),
        *("synflow-bench>=99; extra == 'future'", "synflow-bench>=99; python_version < '3'"),
        *(
            "synflow-bench-extras>=99",
            "synflow-bench @ https://example.org/x-99.whl",
            "synflow-bench >=99 what?",
        ),
    ],
)
def test_a_distribution_for_this_version_takes_part(distribution, load, requires):
    distribution("third", GOOD, requires=requires)
    assert "good" in load().pruners


def test_of_a_quarantined_plugin_nothing_is_registered(distribution, load):
    code = """
        @hookimpl
        def synflow_bench_pruners(): return {'half': object()}
        @hookimpl
        def synflow_bench_suites(): raise OSError('no disk')
    """
    distribution("broken", code)
    assert "half" not in load().pruners


def test_strict_raises_with_the_cause(distribution, load):
    distribution("broken", "raise RuntimeError('on import')")
    with pytest.raises(PluginError, match=r"of broken 1.0: RuntimeError: on import") as caught:
        load(SYNFLOW_BENCH_STRICT="1")
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize("value", ["", "0"])
def test_strict_may_be_switched_off(distribution, load, value):
    distribution("broken", "raise RuntimeError('on import')")
    assert load(SYNFLOW_BENCH_STRICT=value).quarantined


@pytest.mark.parametrize("name", ["door", "Broken.Thing", "other, broken_thing"])
def test_a_blocked_plugin_is_not_even_imported(distribution, load, find, warnings, name):
    distribution("broken-thing", "raise RuntimeError('on import')", plugin="door")
    distribution("other", GOOD)
    host = load(SYNFLOW_BENCH_DISABLE=name, SYNFLOW_BENCH_STRICT="1")
    blocked = find(host, "broken-thing")
    assert (blocked.status, blocked.cause) == ("blocked", "by SYNFLOW_BENCH_DISABLE")
    assert host.quarantined == ()
    assert warnings == []


def test_blocking_an_unknown_plugin_is_a_warning(load, warnings):
    load(SYNFLOW_BENCH_DISABLE="harnes,")
    assert "'harnes'" in warnings[0]
    assert warnings[0].endswith("did you mean 'harness'?")


def test_a_malformed_distribution_hides_no_other(distribution, load):
    folder = distribution.site / "malformed-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: malformed\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[synflow_bench]\nno equals sign\n")
    distribution("good", GOOD)
    assert "good" in load().pruners


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
    assert {"run", "one", "two"} <= group.commands.keys()
    assert find(host, "third").provides == {"command": ["one", "two"]}


def test_a_plugin_that_raises_adds_nothing(distribution, load, find, warnings, group):
    distribution("broken", commands("one", after="1 / 0"))
    distribution("third", commands("two"))
    host = load()
    host.commands(group)
    assert {"run", "two"} <= group.commands.keys()
    assert "one" not in group.commands
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
    with pytest.raises(PluginError, match=r"third 1.0: command 'run' .* synflow-bench itself"):
        host.check()


def test_two_plugins_cannot_share_a_command(distribution, load, group):
    distribution("alpha", commands("one"))
    distribution("beta", commands("one"))
    host = load()
    host.commands(group)
    assert "one" not in group.commands
    with pytest.raises(PluginError, match=r"command 'one' .* 'beta' of beta 1.0"):
        host.check()
