"""From the name of a plugin to those of its distribution, its module and its class."""

from __future__ import annotations

import re
from dataclasses import dataclass

from synflow_bench.errors import UsageError
from synflow_bench.host import KINDS
from synflow_bench.names import DENSE, NAME_RULE, is_plain_name

PREFIX = "synflow-bench-"

_OURS = frozenset(KINDS.values())
"""Packages of ours are named as the hooks that they implement; a module of such a name would hide one."""


@dataclass(frozen=True)
class Names:
    """`plugin` as it is registered, `distribution` as it is installed, `module` and `attribute` in Python."""

    plugin: str
    distribution: str
    module: str
    attribute: str


def names_of(name: str, kind: str) -> Names:
    """The names for a plugin called `name`, such as `gradnorm` or `mylab/net`.

    Raises `UsageError` for a name that cannot be registered, or whose module would hide one of ours.
    """
    plugin = name.removeprefix(PREFIX)
    if not is_plain_name(plugin):
        raise UsageError(f"{name!r} is not a name: {NAME_RULE}")
    if kind == "pruner" and plugin == DENSE:
        raise UsageError(f"the pruner name {DENSE!r} stands for the unpruned network; choose another")
    words = re.findall(r"[a-z0-9]+", plugin)
    module = "_".join(["synflow_bench", *words])
    if module in _OURS:
        raise UsageError(
            f"the module of {plugin!r} would be {module!r}, synflow-bench's own; choose another name"
        )
    return Names(
        plugin=plugin,
        distribution=PREFIX + "-".join(words),
        module=module,
        attribute=_attribute(words, kind),
    )


def _attribute(words: list[str], kind: str) -> str:
    """A class's name, or a factory's; the kind in it keeps it from being a keyword or a base class."""
    if kind == "model":
        return f"build_{'_'.join(words)}"
    camel = "".join(word.capitalize() for word in words)
    suffix = kind.capitalize()
    return f"{camel}{suffix}" if camel[0].isalpha() else f"{suffix}{camel}"
