"""A file is a plugin for one run: through the same registry, with its hash where others have a version."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import pytest

from synflow_bench import __version__
from synflow_bench.errors import PluginError, UsageError
from synflow_bench.host import Host, PluginFile

Write = Callable[..., PluginFile]

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


def host_of(*files: PluginFile, told: list[str] | None = None) -> Host:
    report: Any = [].append if told is None else told.append
    return Host.load(report=report, environment={}, files=files)


def fault(*files: PluginFile) -> str:
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
    ("code", "cause"),
    [
        (
            "import absent_module",
            "ModuleNotFoundError: No module named 'absent_module'; mend it, or leave out",
        ),
        ("def f(:", "SyntaxError: invalid syntax (lab.py, line 1); mend it, or leave out --plugin"),
        ("raise SystemExit(3)", "SystemExit: 3; mend it, or leave out --plugin"),
        ("x = 1", "it implements no hook; known: synflow_bench_pruners, "),
        ("def synflow_bench_pruners(): ...", "'synflow_bench_pruners' is not marked as a hook"),
        ("synflow_bench_contract = 2", "it keeps plugin contract 2, this synflow-bench 1; install versions"),
        (PRUNER.replace("pruners()", "pruner()"), "unknown hook 'synflow_bench_pruner'; did you mean"),
        (
            "from synflow_bench import hookimpl\n@hookimpl\ndef synflow_bench_models(): return {}",
            "its hooks give no names; return a mapping such as {'mine': Mine}",
        ),
    ],
)
def test_one_that_cannot_take_part_is_a_fault(write: Write, code: str, cause: str) -> None:
    file = write("lab.py", code)
    assert fault(file).startswith(f"plugin file {file.given!r}: {cause}")
    assert host_of(file).plugins[-1].status == "fault"


def test_a_fault_leaves_no_half_module(write: Write) -> None:
    host_of(write("lab.py", "x = 1\nraise ValueError"))
    assert "lab" not in sys.modules


def test_a_file_that_only_hears_of_runs_is_welcome(write: Write) -> None:
    code = "from synflow_bench import hookimpl\n@hookimpl\ndef synflow_bench_run_started(run): ..."
    host_of(write("lab.py", code)).check()


def test_a_file_does_not_take_the_place_of_another_module(write: Write) -> None:
    import random

    message = fault(write("random.py"))
    assert message.endswith(f"its module name 'random' is taken by {random.__file__!r}; rename the file")
    assert sys.modules["random"] is random


def test_two_files_of_one_name_are_told_apart(write: Write) -> None:
    first, second = write("a/lab.py"), write("b/lab.py", PRUNER.replace('"mine"', '"other"'))
    assert fault(first, second) == (
        f"plugin file {second.given!r}: {first.given!r} has the same module name; rename one of them"
    )


def test_a_name_that_is_taken_has_no_winner(write: Write) -> None:
    file = write("lab.py", PRUNER.replace('"mine"', '"snip"'))
    host = host_of(file)
    way_out = "rename it in the file, or leave out --plugin"
    ours = f"plugin 'pruners' of synflow-bench {__version__}"
    assert [str(each) for each in host.faults] == [
        f"plugin file {file.given!r}: pruner 'snip' is also claimed by {ours}; {way_out}",
        f"{ours}: pruner 'snip' is also claimed by plugin file {file.given!r}; {way_out}",
    ]
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
    assert [str(each) for each in host.faults] == [
        f"plugin file {file.given!r}: command 'run' is also claimed by synflow-bench itself; "
        "rename it in the file, or leave out --plugin"
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.py", "no plugin file {!r}; --plugin takes the path of a .py file"),
        ("folder.py", "cannot read plugin file {!r}: Is a directory"),
        ("module", "plugin file {!r} is no .py file; name the module itself"),
    ],
)
def test_what_is_no_file_is_a_usage_error(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(UsageError) as caught:
        PluginFile.read(tmp_path / name)
    assert str(caught.value) == message.format(str(tmp_path / name))
