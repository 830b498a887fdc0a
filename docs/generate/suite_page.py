"""The fields of a suite and of its parts."""

from __future__ import annotations

import json
from typing import Any

from prose import code, docstring, table
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from synflow_bench.suites import Finetune, Multishot, PruningOptions, Recipe, Setting, Singleshot, Suite

HEAD = """# Suites

A suite is a TOML file; `synflow-bench run --suite my-suite.toml` runs it.

- The file has the fields of `Suite`, in the table below.
- `settings` is a list of tables. `recipe`, `protocol` and `pruning` are tables in each of them.
- An unknown field, a value of the wrong type and an option without effect are errors that name the field.
- `--set recipe.lr=0.01` changes a field of every setting for one run.

[Write a suite](../how-to/write-a-suite.md) has an example.
"""
VALUES = (Suite, Setting, Recipe, PruningOptions, Singleshot, Multishot, Finetune)
WIDEST = 2**63 - 1
"""The limit of all integers, which is no property of a field and is not shown."""
WORDS = {"Suite": "the file", "Setting": "`[[settings]]`", "Recipe": "`[settings.recipe]`"}
WORDS |= {"PruningOptions": "`[settings.pruning]`"}
WORDS |= {
    name: f'`[settings.protocol]` with `name = "{name.lower()}"`'
    for name in ("Singleshot", "Multishot", "Finetune")
}


def suites_page() -> str:
    """Return the page."""
    return "\n\n".join([HEAD.rstrip(), *map(_section, VALUES)]) + "\n"


def _section(kind: Any) -> str:
    schema = kind.model_json_schema(by_alias=True)
    rows = [
        [code(name), _type(schema["properties"][name], schema.get("$defs", {})), _default(field.default)]
        for name, field in kind.model_fields.items()
    ]
    title = f"## {kind.__name__}: {WORDS[kind.__name__]}"
    return "\n\n".join([title, docstring(kind), table(["field", "values", "default"], rows)])


def _type(schema: dict[str, Any], known: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return name if name in WORDS else _type(known[name], known)
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(dict.fromkeys(_type(each, known) for each in schema[choice]))
    if "enum" in schema or "const" in schema:
        return ", ".join(code(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), known)}"
    return f"{_word(schema)}{_bounds(schema)}"


def _word(schema: dict[str, Any]) -> str:
    if schema.get("type") == "object":
        return "text or table"
    words = {"integer": "whole number", "boolean": "`true` or `false`", "string": "text", "null": "nothing"}
    word = str(schema.get("type", "any value"))
    return words.get(word, word)


def _bounds(schema: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = {sign: schema[key] for key, sign in signs.items() if key in schema}
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
