"""Pruner classes of a Python program, as plugins of one run.

cloudpickle sends a class of a script, a notebook or an interpreter to worker processes by value, because they
cannot import it. This process uses the class that it has.
"""

from __future__ import annotations

import dataclasses
import io
import pickle
import re
from dataclasses import dataclass, field
from functools import cached_property
from types import SimpleNamespace
from typing import Any, Self

from synflow_bench.errors import UsageError, one_line
from synflow_bench.host.fingerprint import fingerprint
from synflow_bench.host.hookspecs import hookimpl

_SENTINELS = ("MISSING", "KW_ONLY")
"""Objects of `dataclasses` that it compares by identity, so that a worker must not get copies of them."""


@dataclass(frozen=True)
class PluginClass:
    """A pruner class as a plugin.

    Attributes:
        given: The class in messages, such as `module.GradNorm`.
        pruner: The name of the pruner, such as `grad-norm` for a class `GradNorm`.
        version: `sha256:` and the 64 hexadecimal digits of the hash of its definition.
        kind: The class; None in a process that has received it and not yet loaded it.
    """

    given: str
    pruner: str
    version: str
    kind: type | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, pruner: type) -> Self:
        """Make a plugin of a class, wherever it is defined."""
        given = f"{pruner.__module__}.{pruner.__qualname__}"
        return cls(given, pruner_name(pruner), f"sha256:{fingerprint(pruner)}", pruner)

    @property
    def module(self) -> str:
        """The name of the plugin."""
        return re.sub(r"\W", "_", self.pruner)

    @property
    def distribution(self) -> str:
        """The class in messages, where an installed plugin has its distribution."""
        return self.given

    @cached_property
    def pickled(self) -> bytes:
        """The class, pickled by cloudpickle.

        Raises:
            UsageError: If it refers to something that cannot be sent to another process.
        """
        try:
            return _pickle(self.kind)
        except Exception as error:  # whatever the class refers to may raise anything
            raise UsageError(
                f"class {self.given!r} cannot be sent to worker processes ({one_line(error)}); "
                "make that object within its methods, or run with executor='serial'"
            ) from error

    def load(self) -> object:
        """Return a plugin object that registers the class."""
        kind = self.kind or pickle.loads(self.pickled)  # our own bytes  # noqa: S301  # nosec B301
        name = self.pruner

        @hookimpl
        def synflow_bench_pruners() -> dict[str, object]:
            return {name: kind}

        return SimpleNamespace(synflow_bench_pruners=synflow_bench_pruners)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "kind": None, "pickled": self.pickled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)


def _pickle(kind: object) -> bytes:
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, value: object) -> Any:
            for name in _SENTINELS:
                if value is getattr(dataclasses, name):
                    return name
            return super().reducer_override(value)

    file = io.BytesIO()
    Pickler(file).dump(kind)
    return file.getvalue()


def pruner_name(pruner: type) -> str:
    """Return the name of the pruner that a class defines: its words in lower case, joined by hyphens.

    Example:
        >>> class GradNorm: ...
        >>> pruner_name(GradNorm)
        'grad-norm'
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", pruner.__name__)
    return words.strip("_").lower().replace("_", "-")
