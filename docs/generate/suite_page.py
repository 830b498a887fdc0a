"""Every field of a suite, and of what is in it."""

from __future__ import annotations

import json
from typing import Any

from prose import code, docstring, table
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from synflow_bench.suites import Multishot, PruningOptions, Recipe, Setting, Singleshot, Suite

HEAD = """# Suites

A suite is a TOML file: `synflow-bench run --suite my-suite.toml`. Its fields are those of `Suite` below;
`settings` are tables, `recipe`, `protocol` and `pruning` are tables in them. A field that does not exist,
a value of the wrong type and an option without effect are refused by name. `--set recipe.lr=0.01` changes
a field of every setting for one run.
"""
VALUES = (Suite, Setting, Recipe, PruningOptions, Singleshot, Multishot)
WIDEST = 2**63 - 1
"""Whole numbers go no further, which says nothing of what a field means."""
WORDS = {"Suite": "the file", "Setting": "`[[settings]]`", "Recipe": "`[settings.recipe]`"}
WORDS |= {"PruningOptions": "`[settings.pruning]`"}
WORDS |= {
    name: f'`[settings.protocol]` with `name = "{name.lower()}"`' for name in ("Singleshot", "Multishot")
}


def suites_page() -> str:
    """The page."""
    return "\n\n".join([HEAD.rstrip(), *map(_section, VALUES)]) + "\n"


def _section(kind: Any) -> str:
    schema = kind.model_json_schema(by_alias=True)
    rows = [
        [code(name), _type(schema["properties"][name], schema.get("$defs", {})), _default(field.default)]
        for name, field in kind.model_fields.items()
    ]
    title = f"## {kind.__name__}: {WORDS[kind.__name__]}"
    return "\n\n".join([title, docstring(kind), table(["field", "values", "default"], rows)])


def _type(said: dict[str, Any], known: dict[str, Any]) -> str:
    if "$ref" in said:
        name = said["$ref"].rpartition("/")[2]
        return name if name in WORDS else _type(known[name], known)
    for choice in ("anyOf", "oneOf"):
        if choice in said:
            return " or ".join(dict.fromkeys(_type(each, known) for each in said[choice]))
    if "enum" in said or "const" in said:
        return ", ".join(code(value) for value in said.get("enum", [said.get("const")]))
    if said.get("type") == "array":
        return f"list of {_type(said.get('items', {}), known)}"
    return f"{_word(said)}{_bounds(said)}"


def _word(said: dict[str, Any]) -> str:
    if said.get("type") == "object":
        return "text or table"
    words = {"integer": "whole number", "boolean": "`true` or `false`", "string": "text", "null": "nothing"}
    word = str(said.get("type", "any value"))
    return words.get(word, word)


def _bounds(said: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = {sign: said[key] for key, sign in signs.items() if key in said}
    found = [f"{sign} {limit:g}" for sign, limit in limits.items() if abs(limit) < WIDEST]
    return f" {', '.join(found)}" if found else ""


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "must be given"
    if isinstance(value, BaseModel):
        return type(value).__name__
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, tuple):
        return code(json.dumps([*value]))
    return code(value)
