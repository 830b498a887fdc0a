"""The arguments of the Python API: what each of them may be, and a message of one line for anything else."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from math import inf, isfinite
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synflow_bench.errors import UsageError
from synflow_bench.host import Host, PluginClass, pruner_name
from synflow_bench.suites import (
    PrunerRow,
    PrunerSpec,
    Suite,
    compression_of_sparsity,
    expand_pruners,
    validate,
)

if TYPE_CHECKING:
    from synflow_bench.pruning import Pruner

    PrunerLike = str | PrunerSpec | Pruner | type[Pruner]

Reader = Callable[[Any], Any]


def read_argument(name: str, value: Any) -> Any:
    """Return an argument in its one form: lists as lists, numbers of numpy as those of Python.

    Args:
        name: The name of the argument, one of those of `run` or `prepare`.
        value: The argument; None is returned as it is where the argument may be left out.

    Raises:
        UsageError: If the value has another type, or is an empty list.

    Example:
        >>> read_argument("datasets", "digits"), read_argument("seeds", range(2))
        (['digits'], [0, 1])
    """
    read, expected, may_be_none = _ARGUMENTS[name]
    if value is None and may_be_none:
        return None
    try:
        found = read(_plain(value))
    except (TypeError, ValueError):
        shown = " ".join(repr(value).split())
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        raise UsageError(f"{name}={shown} cannot be used; give {expected}") from None
    if found == [] and may_be_none:
        raise UsageError(f"{name} is empty; give {expected}, or leave it out")
    return found


_SHOWN = 100
"""The most letters of a value in a message."""


def _plain(value: Any) -> Any:
    """Return arrays and numbers of numpy as lists and numbers of Python."""
    return value.tolist() if hasattr(value, "tolist") and not isinstance(value, type) else value


def _of_type(*kinds: type) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kinds):
            raise TypeError
        return value

    return read


_NAME, _FLAG = _of_type(str), _of_type(bool)


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _positive(value: Any) -> int:
    if _integer(value) < 1:
        raise ValueError
    return _integer(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError
    return int(value) if isinstance(value, Integral) else float(value)


def _not_negative(value: Any) -> float:
    number = _number(value)
    if not 0 <= number < inf:
        raise ValueError
    return number


def _count(value: Any) -> int:
    if _integer(value) < 0:
        raise ValueError
    return _integer(value)


def _path(value: Any) -> Path:
    return Path(_of_type(str, Path)(value))


def _list_of(read: Reader) -> Reader:
    """Return a reader of lists, which takes a single value as a list of one."""

    def read_list(value: Any) -> list[Any]:
        if isinstance(value, Mapping):
            raise TypeError
        single = isinstance(value, str | Path | type | PrunerSpec) or not isinstance(value, Iterable)
        return [read(_plain(each)) for each in ([value] if single else value)]

    return read_list


def _seeds(value: Any) -> int | list[int]:
    if isinstance(value, str):
        raise TypeError
    found: int | list[int] = _list_of(_integer)(value) if isinstance(value, Iterable) else _integer(value)
    return found


def _options(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError
    return {_NAME(name): str(each) for name, each in value.items()}


def check_executor_options(name: str, factory: Any, options: Mapping[str, str]) -> None:
    """Refuse options that an executor does not have; it names those that it has in its attribute `options`.

    Raises:
        UsageError: There is one.
    """
    known = sorted(getattr(factory, "options", ()))
    for option in options:
        if option not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise UsageError(f"executor {name!r} has no option {option!r}; {has}")


def _shard(value: Any) -> tuple[int, int]:
    number, count = (int(part) for part in _NAME(value).split("/"))
    if not 1 <= number <= count:
        raise ValueError
    return number, count


def _overrides(value: Any) -> dict[str, Any] | list[str]:
    if isinstance(value, list):  # of the command line
        return [_NAME(each) for each in value]
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError
    if not all(isinstance(path, str) and all(path.split(".")) for path in value):
        raise ValueError
    return {path: _plain(each) for path, each in value.items()}


_ARGUMENTS: dict[str, tuple[Reader, str, bool]] = {
    "suite": (_of_type(str, Path, Suite, Mapping), "a name, a path, a Suite or a mapping", False),
    "pruners": (_list_of(lambda each: each), 'names, classes or instances, such as ["snip", Mine]', True),
    "datasets": (_list_of(_NAME), 'names, such as ["digits"]', True),
    "models": (_list_of(_NAME), 'names, such as ["fc"]', True),
    "compressions": (_list_of(_number), "numbers from 1 on, such as [10, 100]", True),
    "sparsities": (_list_of(_number), "numbers below 1, such as [0.9, 0.99]", True),
    "seeds": (_seeds, "the number of seeds, such as 3, or a list of them, such as [0, 1, 2]", True),
    "epochs": (_integer, "a whole number, such as 3", True),
    "ablations": (_list_of(_NAME), 'names, such as ["none", "shuffle"]', True),
    "protocol": (_of_type(Mapping), 'a mapping, such as {"name": "multishot"}', True),
    "overrides": (_overrides, 'a mapping of paths, such as {"recipe.lr": 0.01}', False),
    "tune": (_of_type(str, Mapping), 'text such as "lr=0.001|0.01", or {"lr": [0.001, 0.01]}', True),
    "plugins": (_list_of(_path), 'paths of Python files, such as ["mine.py"]', False),
    "device": (_NAME, 'a name, such as "cpu"', False),
    "workers": (_positive, "a whole number from 1 on, or leave it out for as many as fit", True),
    "threads": (_positive, "a whole number from 1 on", False),
    "executor": (_NAME, 'a name, such as "local"', False),
    "executor_options": (_options, 'a mapping, such as {"address": "auto"}', True),
    "results": (_path, "the path of a folder", False),
    "shard": (_shard, 'a part and the number of parts, such as "1/3", "2/3" and "3/3"', True),
    "data": (_path, "the path of a folder", True),
    "checkpoint_minutes": (_not_negative, "minutes, such as 10, or 0", False),
    "checkpoint_epochs": (_count, "a number of epochs, such as 1, or 0", False),
    "force": (_FLAG, "True or False", False),
    "keep": (_list_of(_NAME), 'names, such as ["masks", "weights"]', True),
    "retry_failed": (_FLAG, "True or False", False),
    "progress": (_FLAG, "True or False", False),
    "baseline": (_NAME, 'the name of a row, such as "random"', True),
    "path": (_path, "the path of a results folder", False),
}
"""The reader of every argument, what it may be in messages, and True if it may be left out."""


def with_epochs(overrides: Any, epochs: int | None) -> dict[str, Any]:
    """Return overrides together with `epochs`.

    Raises:
        UsageError: If they differ, or `overrides` is a list.
    """
    if isinstance(overrides, list):
        raise UsageError(
            f'overrides={overrides} cannot be used; give a mapping such as {{"recipe.lr": 0.01}}'
        )
    changes, path = dict(overrides or {}), "recipe.epochs"
    if epochs is not None and changes.setdefault(path, epochs) != epochs:
        raise UsageError(
            f"epochs={epochs} and overrides={{{path!r}: {changes[path]!r}}} differ; leave one out"
        )
    return changes


def unregistered_classes(pruners: Iterable[PrunerLike], host: Host) -> list[PluginClass]:
    """Return the classes in `pruners`, and the classes of instances, that no plugin registers.

    Raises:
        UsageError: If a class is not a pruner, or could not be run.
    """
    kinds = dict.fromkeys(_kind(each) for each in pruners if not isinstance(each, str | PrunerSpec))
    found = [kind for kind in kinds if _registered(kind, host) is None]
    for kind in found:
        _check_class(kind)
    return [PluginClass.of(kind) for kind in found]


def _check_class(kind: type[Pruner]) -> None:
    """Refuse a class that could not be run, or whose results would have no valid key."""
    name = kind.__qualname__
    if fault := kind.undefined_methods():
        raise UsageError(f"pruner class {name} {fault}")
    parameters = [each.name for each in fields(kind)]
    if list(inspect.signature(kind).parameters) != parameters:
        raise UsageError(f"pruner class {name} has its own __init__; declare its parameters as fields")
    if isinstance(kind.revision, bool) or not isinstance(kind.revision, int) or kind.revision < 1:
        raise UsageError(f"pruner class {name} has revision {kind.revision!r}; give a whole number from 1 on")
    _check_finite(name, {each.name: each.default for each in fields(kind)})


def _check_finite(name: str, parameters: Mapping[str, Any]) -> None:
    for parameter, value in parameters.items():
        if isinstance(value, float) and not isfinite(value):
            raise UsageError(f"parameter {parameter}={value} of pruner {name} is not a finite number")


def _kind(pruner: object) -> type[Pruner]:
    from synflow_bench.pruning import Pruner

    kind = pruner if isinstance(pruner, type) else type(pruner)
    if not issubclass(kind, Pruner):
        raise UsageError(f"{pruner!r} is not a pruner; give a name, a Pruner class or an instance of one")
    return kind


def _registered(kind: type, host: Host) -> str | None:
    """Return the name under which a plugin registers a class."""
    where = f"{kind.__module__}:{kind.__qualname__}"
    return next((entry.name for entry in host.pruners.entries() if entry.where == where), None)


def pruner_rows(pruners: Iterable[PrunerLike], host: Host) -> list[PrunerRow]:
    """Return the rows of names, specs, classes and instances; a sweep is several.

    Raises:
        SuiteError: If a name cannot be read.
        UsageError: If something is not a pruner, or a parameter is not a finite number.
    """
    rows: list[PrunerRow] = []
    for pruner in pruners:
        if isinstance(pruner, PrunerSpec):
            rows.append(PrunerRow.model_validate(pruner))
        elif isinstance(pruner, str):
            rows += [validate(PrunerRow, each, "pruner") for each in expand_pruners([pruner])]
        else:
            kind = _kind(pruner)
            parameters = {} if isinstance(pruner, type) else asdict(pruner)
            name = _registered(kind, host) or pruner_name(kind)
            _check_finite(name, parameters)
            rows.append(PrunerRow(name=name, parameters=parameters))
    return rows


def compressions_of(compressions: Sequence[float], sparsities: Sequence[float]) -> list[float]:
    """Return compression ratios, followed by sparsities as compression ratios.

    Raises:
        UsageError: If a compression is below 1, or a sparsity is not at least 0 and below 1.

    Example:
        >>> compressions_of([2], [0.9])
        [2, 10.0]
    """
    for each in compressions:
        if each < 1:
            raise UsageError(
                f"compression {each:g} is below 1; 10 keeps one weight in ten, as sparsity 0.9 does"
            )
    return [*compressions, *(compression_of_sparsity(each) for each in sparsities)]
