"""Output: results alone on stdout, in every encoding, whatever plugins print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import pytest

from synflow_bench.cli.output import (
    any_encoding,
    print_line,
    print_table,
    prints_to_stderr,
    say,
    wrapped,
    wrapped_docstring,
)

NOISY = """
    import os

    from torch import nn

    from synflow_bench import Pruner, hookimpl

    print("imported")

    class Noisy(Pruner):
        needs_data = False

        def score(self, problem):
            print("scores")
            os.system("echo from a shell")
            return {name: weight.abs() for name, weight in problem.parameters.items()}

    def factory(input_shape, num_classes):
        print("builds")
        return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    @hookimpl
    def synflow_bench_pruners():
        print("registers")
        return {"noisy": Noisy}

    @hookimpl
    def synflow_bench_models():
        return {"noisy-net": factory}

    @hookimpl
    def synflow_bench_epoch_finished(epoch):
        print("handles")
"""


@pytest.fixture
def noisy(tmp_path: Path) -> str:
    path = tmp_path / "lab_noisy_plugin.py"
    path.write_text(dedent(NOISY))
    return str(path)


@pytest.mark.parametrize("executor", ["serial", "local"])
def test_what_plugins_print_is_not_in_the_json(
    executor: str, noisy: str, tmp_path: Path, launch: Callable[..., Any]
) -> None:
    outcome = launch(
        *("run", "--plugin", noisy, "--pruner", "noisy", "--model", "noisy-net", "--dataset", "digits"),
        *("--compression", "4", "--seeds", "1", "--epochs", "1", "--workers", "1", "--executor", executor),
        *("--results", str(tmp_path / "results"), "--json"),
    )
    assert {cell["status"] for cell in json.loads(outcome.out)["cells"]} == {"ok"}
    for line in ("imported", "registers", "builds", "scores", "from a shell", "handles"):
        assert line in outcome.err


def test_what_plugins_print_is_not_in_lists_and_checks(noisy: str, launch: Callable[..., Any]) -> None:
    outcome = launch("check", "noisy", "--plugin", noisy, "--json")
    (report,) = json.loads(outcome.out)
    assert report["name"] == "noisy"


def test_stdout_is_as_before_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    def plugin() -> None:
        print("plugin")
        os.system("echo shell")  # noqa: S605
        raise ValueError("oh")

    with pytest.raises(ValueError, match="oh"), prints_to_stderr():
        plugin()
    print("result")
    captured = capfd.readouterr()
    assert captured.out == "result\n"
    assert captured.err.split() in (["plugin", "shell"], ["shell", "plugin"])


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_sign_can_be_written_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = BytesIO()
    monkeypatch.setattr("sys.stdout", TextIOWrapper(file, encoding=encoding, write_through=True))
    with any_encoding():
        print("58.1 ± 0.3 – │ ─── ≈ ≥ … → ü 漢 \udcff")
    text = file.getvalue().decode(encoding)
    assert text.startswith("58.1 ")
    assert "\\udcff" in text
    if encoding == "ascii":
        assert text == "58.1 +/- 0.3 - | --- ~ >= ... -> \\xfc \\u6f22 \\udcff\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_command_ends_well_in_a_narrow_encoding(encoding: str, launch: Callable[..., Any]) -> None:
    outcome = launch("show", "synflow", env={**os.environ, "PYTHONIOENCODING": encoding})
    assert (outcome.code, "Traceback" in outcome.err) == (0, False)


DOCSTRING = f"""A pruner.

{"many words " * 20}
{"more words " * 10}

- a list of one line
- of two

Args:
    rate: The rate{", so to say" * 10}.
    mode: One or the other.

Example:
    >>> 1
    1
"""


def test_a_docstring_is_wrapped_paragraph_by_paragraph_and_lists_and_examples_are_kept() -> None:
    text = wrapped_docstring(DOCSTRING)
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.split() == DOCSTRING.split()
    assert "- a list of one line\n- of two" in text
    assert "    mode: One or the other.\n\nExample:\n    >>> 1\n    1" in text
    assert "\n        say, so to say" in text, "the other lines of a parameter are indented"


def test_a_path_is_never_broken() -> None:
    path = "/a-folder/" * 12
    assert path in wrapped(f"put it into {path} and go on", later="  ").splitlines()[1]


@pytest.mark.parametrize("columns", [30, 60, 300])
def test_text_is_as_wide_as_the_terminal_but_not_wider_than_a_reader_likes(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    widest = max(map(len, wrapped("word " * 200).splitlines()))
    assert min(columns, 100) - 5 <= widest <= min(columns, 100)


@pytest.mark.parametrize("columns", [30, 60, 300])
def test_messages_are_wrapped_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int
) -> None:
    line = "error: " + "word " * 50 + "/a-folder" * 12
    monkeypatch.setenv("COLUMNS", str(columns))
    say(line)
    assert capsys.readouterr().err == f"{line}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    say(line)
    lines = capsys.readouterr().err.splitlines()
    assert " ".join(lines) == line
    assert all(len(each) <= columns or " " not in each for each in lines)


def test_a_table_that_is_too_wide_for_a_terminal_is_several_with_whole_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    header = ["model", "synflow", "gradient-norm", "jacobian-covariance", "naswot", "parameters", "macs"]
    row = ["tinyimagenet/resnet18", "-123.4", "0.001234", "-1.234e+05", "456.7", "11,271,432", "40,813,184"]
    rows = [row, ["fc", *row[1:]]]
    print_table(header, rows)
    piped = capsys.readouterr().out.splitlines()
    assert len(piped) == 3
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(header, rows)
    out = click.unstyle(capsys.readouterr().out)
    assert max(map(len, out.splitlines())) <= 80
    assert set(" ".join(piped).split()) <= set(out.split())
    assert out.split().count("fc") == out.split().count("model") == 2


def test_a_wide_column_of_text_is_wrapped_and_does_not_break_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(["rule", "verdict", "reason"], [["weights-unchanged", "fail", "some words " * 20]])
    lines = click.unstyle(capsys.readouterr().out).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[2].split()[:4] == ["weights-unchanged", "fail", "some", "words"]


def test_lines_of_a_list_are_wrapped_on_a_terminal_below_their_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "digits / lottery/resnet20 / synflow[rounds=100] / compression 10 / seed 0 / 9c998d2a"
    print_line("0123456789ab  ok  ", text)
    assert capsys.readouterr().out == f"0123456789ab  ok  {text}\n"
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_line("0123456789ab  ok  ", text)
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("0123456789ab  ok  digits / ")
    assert all(line[:18].isspace() and len(line) <= 60 for line in others)
    assert " ".join([first[18:], *(line.strip() for line in others)]) == text


RESTLESS = '''
import atexit, os, threading, time
from synflow_bench import Pruner, hookimpl

class Restless(Pruner):
    """Keep all."""

    def score(self, problem):
        return {}

@hookimpl
def synflow_bench_pruners():
    return {"restless": Restless}

def print_on():
    while True:
        print("from a thread", flush=True)
        time.sleep(0.001)

atexit.register(print, "at the end")
print("at the import", flush=True)
if os.fork() == 0:  # before there is a thread, whose lock on stdout a fork would keep for ever
    print("from a process", flush=True)
threading.Thread(target=print_on, daemon=True).start()
'''


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_json_is_alone_on_stdout_whatever_a_plugin_prints_and_when(tmp_path: Path) -> None:
    plugin = tmp_path / "noisy.py"
    plugin.write_text(RESTLESS)
    command = [sys.executable, "-m", "synflow_bench", "list", "pruners", "--json", "--plugin", str(plugin)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "restless" in {pruner["name"] for pruner in json.loads(done.stdout)}
    for line in ("at the end", "from a thread", "at the import", "from a process"):
        assert line in done.stderr
