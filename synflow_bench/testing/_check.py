"""The kit in one call for each kind of plugin, and by installed name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synflow_bench.data import default_data_root
from synflow_bench.errors import PluginError
from synflow_bench.host import Host
from synflow_bench.suites import PrunerSpec, validate
from synflow_bench.testing._dependencies import Dependencies
from synflow_bench.testing._rule import Examination, NotAsked, Report, Rule
from synflow_bench.testing._subject import PrunerSubject
from synflow_bench.testing.datasets import DATASET_RULES, DatasetSubject
from synflow_bench.testing.models import MODEL_RULES, ModelSubject
from synflow_bench.testing.pruners import PRUNER_RULES

RULES: Mapping[str, Sequence[Rule[Any]]] = {
    "pruner": PRUNER_RULES,
    "model": MODEL_RULES,
    "dataset": DATASET_RULES,
}
"""The rules of each kind of plugin that the kit knows."""


def examine_pruner(
    pruner: Any, parameters: Mapping[str, Any] | None = None, host: Host | None = None
) -> Examination[PrunerSubject]:
    """An examination of a pruner: its class, or its name among those of `host`, `"synflow[rounds=10]"`."""
    spec = validate(PrunerSpec, pruner, "pruner") if isinstance(pruner, str) else None
    load = _loader("pruner", spec.name if spec else pruner, host)
    subject = PrunerSubject(
        spec.name if spec else _name(pruner),
        load,
        {**(spec.parameters if spec else {}), **(parameters or {})},
        load.title,
        load.dependencies,
    )
    if spec:
        with suppress(PluginError, NotAsked):  # those are for the rules to tell; a wrong parameter is not
            subject.make()
    return Examination(subject, PRUNER_RULES)


def examine_model(factory: Any, host: Host | None = None) -> Examination[ModelSubject]:
    """An examination of a model: its factory, or its name among those of `host`."""
    load = _loader("model", factory, host)
    return Examination(ModelSubject(_name(factory), load, load.dependencies), MODEL_RULES)


def examine_dataset(
    dataset: Any, root: Path | None = None, host: Host | None = None
) -> Examination[DatasetSubject]:
    """An examination of a data set: its class, or its name among those of `host`; its files are in `root`."""
    load = _loader("dataset", dataset, host)
    subject = DatasetSubject(_name(dataset), load, root or default_data_root(), load.dependencies)
    return Examination(subject, DATASET_RULES)


def check_pruner(
    pruner: Any, parameters: Mapping[str, Any] | None = None, host: Host | None = None
) -> Report:
    """Ask every rule of a pruner: its class, or its name among those of `host`."""
    return _report("pruner", examine_pruner(pruner, parameters, host))


def check_model(factory: Any, host: Host | None = None) -> Report:
    """Ask every rule of a model: its factory, or its name among those of `host`."""
    return _report("model", examine_model(factory, host))


def check_dataset(dataset: Any, root: Path | None = None, host: Host | None = None) -> Report:
    """Ask every rule of a data set: its class, or its name among those of `host`."""
    return _report("dataset", examine_dataset(dataset, root, host))


def _report(kind: str, examination: Examination[Any]) -> Report:
    return Report(kind, examination.subject.name, examination.all())


def _name(subject: Any) -> str:
    if isinstance(subject, str):
        return subject
    return str(getattr(subject, "__name__", type(subject).__name__)).lower()


@dataclass(frozen=True)
class _Given:
    """Loads what was given itself."""

    plugin: Any
    title: str = ""

    @property
    def dependencies(self) -> Dependencies:
        """What it may lack."""
        return Dependencies.of(self.plugin)

    def __call__(self) -> Any:
        return self.plugin


@dataclass(frozen=True)
class _Installed:
    """Loads what is installed under a name; a missing optional dependency of it is a reason not to ask."""

    host: Host
    kind: str
    name: str

    @property
    def title(self) -> str:
        """The plugin as messages name it."""
        return self.host.registry(self.kind).entry(self.name).title

    @property
    def dependencies(self) -> Dependencies:
        """What it may lack."""
        return Dependencies(self.host.registry(self.kind).entry(self.name).distribution)

    def __call__(self) -> Any:
        try:
            return self.host.registry(self.kind).get(self.name)
        except PluginError as error:
            if missing := self.dependencies.missing(error.__cause__):
                raise NotAsked(f"needs {missing!r}, which is not installed") from error
            raise


def _loader(kind: str, plugin: Any, host: Host | None) -> _Given | _Installed:
    """Raises `UnknownNameError` at once for a name that nothing has registered."""
    if not isinstance(plugin, str):
        return _Given(plugin)
    host = host or Host.load()
    host.check()
    host.registry(kind).entry(plugin)
    return _Installed(host, kind, plugin)
