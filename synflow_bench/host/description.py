"""The description and the parameters of a registered name, read from source code that is not imported.

Listing a hundred names must not import torch. References such as "module:attribute" are therefore looked up
in the syntax tree of their module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from synflow_bench.docstrings import parts_of
from synflow_bench.host.registry import Entry
from synflow_bench.toml import read_toml

_PAPER = "Paper:"


@dataclass(frozen=True)
class Description:
    """A short description of a registered name.

    Attributes:
        line: The first line of its docstring, or the `description` of a suite.
        parameters: The defaults of its parameters, as a spec such as `synflow[rounds=10]` writes them. Those
            that all pruners share appear only where a class gives another default.
        text: The paragraphs of its docstring between the first line and the sections, each in one line.
        paper: The paper that the docstring names, in one line.
        meanings: The descriptions of its parameters, from the section `Args`.
    """

    line: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    text: tuple[str, ...] = ()
    paper: str = ""
    meanings: dict[str, str] = field(default_factory=dict)


def description_of(entry: Entry) -> Description:
    """Describe a registered name; the description is empty if its source cannot be found or read."""
    if isinstance(entry.reference, Path):
        return Description(_suite_line(entry.reference))
    if not isinstance(entry.reference, str) and not hasattr(entry.reference, "__qualname__"):
        return Description()
    module, _, name = entry.where.partition(":")
    tree = _tree(module)
    return _described(tree, name) if tree else Description()


def _suite_line(path: Path) -> str:
    try:
        return str(read_toml(path).get("description", ""))
    except (OSError, ValueError):
        return ""


@cache
def _tree(module: str) -> ast.Module | None:
    try:
        spec = find_spec(module)
        return ast.parse(Path(str(spec.origin)).read_bytes()) if spec else None
    except (ImportError, OSError, SyntaxError, ValueError):
        return None


def _described(tree: ast.Module, name: str) -> Description:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            parameters = dict(_parameters(tree, node)) if isinstance(node, ast.ClassDef) else {}
            return Description(_first_line(node), parameters, *_parts(ast.get_docstring(node) or ""))
    is_local = "." in name  # another name may be assigned, as a model that a function of its module makes
    return Description() if is_local else Description(_first_line(tree))


def _parameters(tree: ast.Module, node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class with their defaults, after those of its bases in the same module."""
    classes = {each.name: each for each in tree.body if isinstance(each, ast.ClassDef)}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            yield from _parameters(tree, classes[base.id])
    for each in node.body:
        match each:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=ast.expr() as default):
                if "ClassVar" not in ast.unparse(kind):
                    yield name, _text(default)


def _text(default: ast.expr) -> str:
    match default:
        case ast.Constant(value=bool() as value):
            return str(value).lower()
        case ast.Constant(value=str() as value):
            return value
        case _:
            return ast.unparse(default)


def _parts(docstring: str) -> tuple[tuple[str, ...], str, dict[str, str]]:
    """Return the paragraphs of a docstring, the paper that it names, and the meanings of its parameters."""
    text, paper, meanings = [], "", {}
    for part in parts_of(docstring)[1:]:
        if part.section == "Args":
            meanings = part.meanings
        elif part.text.startswith(_PAPER):
            paper = " ".join(part.text.removeprefix(_PAPER).split())
        elif not part.section:
            text.append(" ".join(part.text.split()))
    return tuple(text), paper, meanings


def _first_line(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> str:
    return (ast.get_docstring(node) or "").strip().partition("\n")[0].rstrip(".")
