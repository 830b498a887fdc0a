"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module

import pytest

PACKAGES = [
    "synflow_bench",
    "synflow_bench_pruners",
    "synflow_bench_models",
    "synflow_bench_datasets",
    "synflow_bench_loggers",
    "synflow_bench_studies",
]
MODULES = [
    found.name
    for name in PACKAGES
    for found in pkgutil.walk_packages(import_module(name).__path__, f"{name}.")
    if not found.name.endswith(".__main__")
]
FINDER = doctest.DocTestFinder(exclude_empty=True)
EXAMPLES = [test for name in MODULES for test in FINDER.find(import_module(name)) if test.examples]

pytestmark = pytest.mark.usefixtures("torch_as_it_was")


@pytest.mark.parametrize("example", EXAMPLES, ids=[test.name for test in EXAMPLES])
def test_the_example_gives_what_it_shows(
    example: doctest.DocTest, capsys: pytest.CaptureFixture[str]
) -> None:
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example)
    assert capsys.readouterr().out == ""


def test_the_public_names_have_examples() -> None:
    names = {test.name.rpartition(".")[2] for test in EXAMPLES}
    assert {"run", "load_results", "prune", "Pruner", "Problem", "Masks"} <= names
