"""Suites from TOML, with all faults told at once."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from synflow_bench.errors import SuiteError
from synflow_bench.suites._suite import Suite

M = TypeVar("M", bound=BaseModel)


def load_suite(path: Path) -> Suite:
    """Read a suite file; every fault is named with its path in the file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SuiteError(
            f"no suite file {str(path)!r}; `synflow-bench list suites` names the installed ones"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SuiteError(f"cannot read suite {str(path)!r}: {error}") from error
    return validate(Suite, {"name": path.stem.lower(), **data}, f"suite {str(path)!r}")


def validate(model: type[M], data: Any, what: str) -> M:
    """Validate `data`, or tell every fault with its path in one `SuiteError`."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise SuiteError(f"{what}: {faults(error)}") from error


def faults(error: ValidationError) -> str:
    """All faults of a validation in one line: `settings[0].recipe.lr: must be ...; ...`."""
    found = error.errors(include_url=False)
    return "; ".join(_path(fault["loc"]) + _message(fault) for fault in found if not _follows(fault, found))


def _follows(fault: Any, found: Sequence[Any]) -> bool:
    """Whether a list is called too short only because its faulty items do not count."""
    place = fault["loc"]
    return fault["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found
    )


def _message(fault: Any) -> str:
    if fault["type"] == "extra_forbidden":
        return "no such field"
    message = str(fault["msg"]).removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    names_it = fault["type"] == "value_error" or isinstance(fault["input"], dict)
    return message if names_it else f"{message} (given {fault['input']!r})"


def _path(location: tuple[int | str, ...]) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return f"{text.lstrip('.')}: " if text else ""
