"""Descriptions are those of the source, read without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from synflow_bench.host import Description, Entry, Host, description_of
from synflow_bench.pruning import Pruner

CODE = '''
"""A module of pruners."""
import not_installed_anywhere
from typing import ClassVar
class Base:
    strength: float = 0.5
    kind: ClassVar[str] = "x"
    needs_data = False
class Mine(Base):
    """Mine: keep something.

    More about it,
    in two lines.

    Paper: Somebody, "A title", 2020,
    arXiv 2001.00001.

    Args:
        mode: The mode, "fast" or
            slow: not both.
        signed: True for signs.

    Example:
        >>> 1
        1
    """
    rounds: int = 3
    mode: str = "fast"
    signed: bool = True
    def score(self, problem): ...
def build(input_shape, num_classes):
    """A small network"""
made = partial(build)
class Undescribed: ...
'''


def entry(reference: object, kind: str = "pruner") -> Entry:
    return Entry(kind=kind, name="n", reference=reference, plugin="p", distribution="d", version="1")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that cannot be imported; another one for every test, as trees are cached."""
    name = f"lab_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize(
    ("name", "line", "parameters"),
    [
        (
            "Mine",
            "Mine: keep something",
            {"strength": "0.5", "rounds": "3", "mode": "fast", "signed": "true"},
        ),
        ("build", "A small network", {}),
        ("made", "A module of pruners", {}),
        ("Undescribed", "", {}),
    ],
)
def test_a_reference_is_described_without_importing_it(
    module: str, name: str, line: str, parameters: dict[str, str]
) -> None:
    found = description_of(entry(f"{module}:{name}"))
    assert (found.line, found.parameters) == (line, parameters)
    assert module not in sys.modules


def test_a_docstring_gives_the_text_the_paper_and_the_meanings_of_parameters(module: str) -> None:
    found = description_of(entry(f"{module}:Mine"))
    assert found.text == ("More about it, in two lines.",)
    assert found.paper == 'Somebody, "A title", 2020, arXiv 2001.00001.'
    assert found.meanings == {
        "mode": 'The mode, "fast" or slow: not both.',
        "signed": "True for signs.",
    }


def test_every_pruner_of_a_paper_names_it() -> None:
    described = {each.name: description_of(each) for each in Host.load().pruners.entries()}
    without = {name for name, each in described.items() if "arXiv" not in each.paper}
    assert without == {"random"}
    assert all(each.text for each in described.values())


@pytest.mark.parametrize("reference", ["nowhere_at_all:X", "sys:X", "nowhere.at_all:X", "", object()])
def test_what_has_no_source_has_an_empty_description(reference: object) -> None:
    assert description_of(entry(reference)) == Description()


def test_a_module_that_is_no_python_has_an_empty_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lab_no_python.py").write_text("def f(:")
    monkeypatch.syspath_prepend(tmp_path)
    assert description_of(entry("lab_no_python:f")) == Description()


class Given(Pruner):
    """Given: a class itself."""

    power: int = 2


def test_a_class_is_described_like_a_reference_to_it() -> None:
    assert description_of(entry(Given)) == Description("Given: a class itself", {"power": "2"})


def test_other_objects_have_no_description_of_their_own() -> None:
    class Local:
        """Not at the top of its module."""

    assert description_of(entry(Local)) == Description()
    assert description_of(entry(partial(int))) == Description()


def test_a_suite_is_described_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "suite.toml"
    assert description_of(entry(path, "suite")) == Description()
    path.write_text('description = "A small suite"')
    assert description_of(entry(path, "suite")) == Description("A small suite")
    path.write_text("description = ")
    assert description_of(entry(path, "suite")) == Description()


def text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", Host.load().pruners.names())
def test_the_parameters_of_first_party_pruners_are_their_fields(name: str) -> None:
    host = Host.load()
    described = description_of(host.pruners.entry(name)).parameters
    shared = {each.name: text(each.default) for each in fields(Pruner)}
    actual = {each.name: text(each.default) for each in fields(host.pruners.get(name))}
    assert {**shared, **described} == actual


def test_every_first_party_name_has_a_line() -> None:
    host = Host.load()
    registries: list[Callable[[], list[Entry]]] = [
        getattr(host, kind).entries
        for kind in ("pruners", "models", "datasets", "suites", "executors", "loggers")
    ]
    lines = {each.name: description_of(each).line for entries in registries for each in entries()}
    assert [name for name, line in lines.items() if not line] == []
