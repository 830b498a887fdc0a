"""The errors that a user can fix: their tree and their text."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synflow_bench import errors
from synflow_bench.errors import (
    LONGEST_TEXT,
    HandledError,
    UnknownNameError,
    capped,
    did_you_mean,
    is_plain_name,
    one_line,
    raised_at,
    without_formula,
)


def test_the_tree_in_the_docstring_has_every_error() -> None:
    drawn = {word for word in errors.__doc__.split() if word.endswith("Error")}  # type: ignore[union-attr]
    defined = {name for name, value in vars(errors).items() if isinstance(value, type)}
    assert drawn == {name for name in defined if issubclass(vars(errors)[name], HandledError)}


@given(st.text())
def test_an_exception_is_one_line_whatever_its_message(message: str) -> None:
    for with_type in (True, False):
        for first_line in (True, False):
            line = one_line(ValueError(message), with_type=with_type, first_line=first_line)
            assert line == " ".join(line.split()) != ""
            assert line.startswith("ValueError") or not with_type


def test_an_exception_without_a_message_is_its_class() -> None:
    assert one_line(SystemExit()) == one_line(SystemExit(), with_type=False) == "SystemExit"


def test_an_unknown_name_suggests_a_close_one_else_the_way_out_else_all() -> None:
    assert "'synflow'" in str(UnknownNameError("pruner", "synflw", ["snip", "synflow"]))
    assert did_you_mean("x", ["snip"], "look elsewhere") == "look elsewhere"
    assert "snip, synflow" in did_you_mean("x", ["synflow", "snip"])
    assert did_you_mean("x", []) == "none is installed"


@pytest.mark.parametrize("name", ["fc", "lottery/vgg11-bn", "a.b_c", "0", "a" * 64])
def test_names(name: str) -> None:
    assert is_plain_name(name)


@pytest.mark.parametrize("name", ["", "My", "-a", "../up", "a//b", "a/../b", "a/.", "a b", "a" * 65])
def test_other_texts_are_no_names(name: str) -> None:
    assert not is_plain_name(name)


HARNESS = Path(errors.__file__).parent
TORCH = Path(str(find_spec("torch").origin)).parent  # type: ignore[union-attr]
PYTHON = Path(functools.__file__).parent


@pytest.mark.parametrize(
    ("file", "is_an_authors"),
    [
        (HARNESS / "pruning" / "pruner.py", False),
        (TORCH / "nn" / "modules" / "module.py", False),
        (TORCH.parent / "torchvision" / "models" / "vgg.py", False),
        (PYTHON / "site-packages" / "synflow_bench" / "api.py", False),
        (functools.__file__, False),
        (PYTHON / "importlib" / "__init__.py", False),
        ("<string>", False),
        (HARNESS.parent / "synflow_bench_mine.py", True),
        (TORCH.parent / "torch_pruning" / "model.py", True),
        (PYTHON / "site-packages" / "mine" / "model.py", True),
        (PYTHON / "site-packages" / "mine.py", True),
        ("model.py", True),
    ],
)
def test_only_the_lines_of_authors_are_named(file: Path | str, is_an_authors: bool) -> None:
    names: dict[str, Callable[[], None]] = {}
    exec(compile("def fail(): raise OSError('odd')", str(file), "exec"), names)  # noqa: S102  of our own making
    with pytest.raises(OSError, match="odd") as caught:
        names["fail"]()
    text = "".join(traceback.format_exception(caught.value.with_traceback(caught.tb.tb_next)))
    assert raised_at(text) == (f"{Path(file).name}:1" if is_an_authors else None)


def test_the_innermost_line_is_named() -> None:
    places = [("/lab/outer.py", 3), ("/lab/inner.py", 14), ("<string>", 1)]
    text = "".join(f'  File "{file}", line {line}, in score\n' for file, line in places)
    assert raised_at(text) == "inner.py:14"
    assert raised_at("") is None


class HostileError(Exception):
    def __init__(self, act: Callable[[], str]) -> None:
        super().__init__()
        self.act = act

    def __str__(self) -> str:
        return self.act()


def fail() -> str:
    raise ValueError("no message")


def leave() -> str:
    raise SystemExit(3)


@pytest.mark.parametrize("name", ["aucc", "AUCC", "auc", "ACU"])
def test_a_suggestion_does_not_depend_on_the_case(name: str) -> None:
    assert did_you_mean(name, ["AUC", "rank"]) == "did you mean 'AUC'?"


@pytest.mark.parametrize("act", [fail, leave, lambda: 7, lambda: None])
def test_a_message_that_cannot_be_read_is_said_to_be_such(act: Callable[[], str]) -> None:
    assert one_line(HostileError(act)).startswith("HostileError: (its message cannot be read: ")


@pytest.mark.parametrize(
    "message", ["a" * 50_000_000, "\udcff", "\x1b]0;title\x07", "\x1b[2J", "\u202eevil", "\x00", "\x9b31m"]
)
def test_a_message_is_short_and_obeyed_by_no_terminal(message: str) -> None:
    line = one_line(ValueError(message))
    assert len(line) < 1.1 * LONGEST_TEXT
    assert line.isprintable()
    line.encode()


@given(st.text(st.characters(exclude_categories=[])), st.integers(2, 50))
def test_capped_text_can_be_written_as_utf_8_and_keeps_its_ends(text: str, most: int) -> None:
    short = capped(text, most)
    short.encode()
    assert len(short) <= most + len(f" [{len(text)} more characters] ")
    if text.isascii() and len(text) <= most:
        assert short == text


@given(st.text())
def test_no_text_of_a_csv_begins_like_a_formula(text: str) -> None:
    assert without_formula(text)[:1] not in set("=+-@\t\r")
    assert without_formula(text).removeprefix("'") == text.removeprefix("'")
