"""Plugin files: a file is a plugin for one run, with its hash in place of a version."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from textwrap import dedent

import click
import pytest

from synflow_bench import __version__
from synflow_bench.errors import PluginError, UsageError
from synflow_bench.host import Host, PluginFile

Write = Callable[..., PluginFile]
Distributions = Callable[..., Path]

PRUNER = """
    from __future__ import annotations
    from dataclasses import dataclass
    from synflow_bench import hookimpl

    @dataclass(frozen=True)
    class Mine:
        rounds: int = 1

    @hookimpl
    def synflow_bench_pruners():
        return {"mine": __name__ + ":Mine"}
"""


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Write a plugin file: `write("mine.py", code)`."""
    before = set(sys.modules)

    def write(name: str, code: str = PRUNER) -> PluginFile:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(code))
        return PluginFile.read(path)

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def host_of(*files: PluginFile) -> Host:
    return Host.load(report=lambda _: None, environment={}, files=files)


def error_of(*files: PluginFile) -> str:
    with pytest.raises(PluginError) as caught:
        host_of(*files).check()
    return str(caught.value)


def test_its_names_are_registered_with_the_file_and_its_hash(write: Write) -> None:
    file = write("lab_pruners.py")
    host = host_of(file)
    host.check()
    entry = host.pruners.entry("mine")
    assert entry.distribution == "lab_pruners.py"
    assert entry.version == f"sha256:{sha256(file.path.read_bytes()).hexdigest()}"
    assert entry.title == f"pruner 'mine' of lab_pruners.py {entry.version[:19]}"
    assert host.pruners.get("mine")(rounds=3).rounds == 3


def test_what_it_defines_can_be_pickled_and_knows_its_file(write: Write) -> None:
    file = write("lab_pruners.py")
    kind = host_of(file).pruners.get("mine")
    assert pickle.loads(pickle.dumps(kind())) == kind()  # noqa: S301  of our own making
    assert sys.modules["lab_pruners"].__file__ == str(file.path)


def test_what_was_read_is_what_runs(write: Write) -> None:
    file = write("lab_pruners.py")
    travelled = pickle.loads(pickle.dumps(file))  # noqa: S301  of our own making
    file.path.write_text("raise RuntimeError('edited meanwhile')")
    assert "mine" in host_of(travelled).pruners


def test_another_host_in_this_process_takes_the_module_there_is(write: Write) -> None:
    file = write("lab_pruners.py")
    first = host_of(file).pruners.get("mine")
    assert host_of(replace(file)).pruners.get("mine") is first


def test_an_edited_file_is_loaded_anew(write: Write) -> None:
    host_of(write("lab_pruners.py"))
    edited = write("lab_pruners.py", PRUNER.replace("rounds: int = 1", "rounds: int = 7"))
    assert host_of(edited).pruners.get("mine")().rounds == 7


@pytest.mark.parametrize(("name", "module"), [("my-pruner.py", "my_pruner"), ("2nd.try.py", "_2nd_try")])
def test_any_file_name_will_do(write: Write, name: str, module: str) -> None:
    file = write(name)
    assert host_of(file).pruners.entry("mine").where == f"{module}:Mine"
    assert file.module == module


def test_one_file_twice_is_one_plugin(write: Write) -> None:
    file = write("lab_pruners.py")
    host_of(file, PluginFile.read(file.path)).check()


@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("import absent_module", "ModuleNotFoundError: No module named 'absent_module'"),
        ("def f(:", "SyntaxError: invalid syntax (lab.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("x = 1", "known: synflow_bench_pruners, "),
        ("def synflow_bench_pruners(): ...", "'synflow_bench_pruners' is not marked"),
        ("synflow_bench_contract = 2", "contract 2"),
        (PRUNER.replace("pruners()", "pruner()"), "unknown hook 'synflow_bench_pruner'"),
        ("from synflow_bench import hookimpl\n@hookimpl\ndef synflow_bench_models(): return {}", "no names"),
    ],
)
def test_a_file_that_cannot_be_used_is_invalid(write: Write, code: str, fact: str) -> None:
    file = write("lab.py", code)
    assert error_of(file).startswith(f"plugin file {file.given!r}: ")
    assert fact in error_of(file)
    assert host_of(file).plugins[-1].status == "invalid"


def test_a_file_that_raises_names_the_way_out(write: Write) -> None:
    assert error_of(write("lab.py", "import absent_module")).endswith("run without it")


def test_a_file_that_raises_leaves_no_half_module(write: Write) -> None:
    host_of(write("lab.py", "x = 1\nraise ValueError"))
    assert "lab" not in sys.modules


def test_a_file_may_only_handle_events(write: Write) -> None:
    code = "from synflow_bench import hookimpl\n@hookimpl\ndef synflow_bench_run_started(run): ..."
    host_of(write("lab.py", code)).check()


def test_a_file_does_not_take_the_place_of_another_module(write: Write) -> None:
    import random

    assert f"'random' is taken by {random.__file__!r}" in error_of(write("random.py"))
    assert sys.modules["random"] is random


def test_two_files_of_one_name_are_an_error(write: Write) -> None:
    first, second = write("a/lab.py"), write("b/lab.py", PRUNER.replace('"mine"', '"other"'))
    assert error_of(first, second).startswith(f"plugin file {second.given!r}: {first.given!r} ")


def test_a_name_that_is_taken_has_no_winner(write: Write) -> None:
    file = write("lab.py", PRUNER.replace('"mine"', '"snip"'))
    host = host_of(file)
    of_the_file, of_ours = map(str, host.errors)
    titles = [f"plugin file {file.given!r}", f"plugin 'pruners' of synflow-bench {__version__}"]
    assert of_the_file.startswith(f"{titles[0]}: pruner 'snip' ")
    assert of_ours.startswith(f"{titles[1]}: pruner 'snip' ")
    assert titles[1] in of_the_file
    assert titles[0] in of_ours
    assert "snip" not in host.pruners


def test_a_command_of_ours_is_not_taken_by_a_file(write: Write) -> None:
    code = """
        import click
        from synflow_bench import hookimpl

        @hookimpl
        def synflow_bench_commands(group):
            group.add_command(click.Command("run"))
    """
    file = write("lab.py", code)
    host = host_of(file)
    host.commands(click.Group(commands={"run": click.Command("run")}))
    (error,) = map(str, host.errors)
    assert error.startswith(f"plugin file {file.given!r}: command 'run' ")
    assert error.endswith("run without the file")


@pytest.mark.parametrize("name", ["third.py", "renamed.py"])
def test_a_file_whose_plugin_is_installed_names_the_way_out(
    write: Write, distribution: Distributions, name: str
) -> None:
    distribution("third", PRUNER.replace("from __future__ import annotations", ""))
    error = error_of(write(name))
    assert error.startswith("plugin file ")
    assert "of third 1.0" in error
    assert "it is installed: leave out --plugin" in error.replace("'third' of third 1.0 is", "it is")


@pytest.mark.parametrize(
    ("name", "fact"),
    [("absent.py", "no plugin file"), ("folder.py", "Is a directory"), ("module", "no .py file")],
)
def test_another_path_than_a_file_is_a_usage_error(tmp_path: Path, name: str, fact: str) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError, match=fact) as caught:
        PluginFile.read(tmp_path / name)
    assert repr(str(tmp_path / name)) in str(caught.value)
