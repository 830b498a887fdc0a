"""The layout of the code: whole modules with plain names, and no private names of others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "synflow_bench", *sorted((ROOT / "plugins").iterdir())]
CODE = sorted(path for package in PACKAGES for path in package.rglob("*.py") if "templates" not in path.parts)
OURS = ("synflow_bench",)
LONGEST = 500


def private_imports(path: Path) -> Iterator[str]:
    """Yield what a file imports of ours that is private to another module."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(OURS):
            names = [*str(node.module).split("."), *(alias.name for alias in node.names)]
            yield from (name for name in names if name.startswith("_") and not name.startswith("__"))


@pytest.mark.parametrize("folder", ["synflow_bench", "plugins", "tests", "benchmarks", "docs", "examples"])
def test_nobody_imports_private_names(folder: str) -> None:
    found = {str(path.relative_to(ROOT)): [*private_imports(path)] for path in (ROOT / folder).rglob("*.py")}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_private_import_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "reaches_in.py"
    file.write_text("from synflow_bench.records.store import Store, _listed\nfrom os import _exit\n")
    assert [*private_imports(file)] == ["_listed"]


def test_modules_have_plain_names_and_end_in_time() -> None:
    assert len(CODE) > 100
    assert [path.name for path in CODE if path.name.startswith("_") and not path.name.startswith("__")] == []
    lines = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8").count("\n") for path in CODE}
    assert {path: count for path, count in lines.items() if count > LONGEST} == {}


def test_class_names_are_unique() -> None:
    homes: dict[str, list[str]] = {}
    for path in CODE:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}
