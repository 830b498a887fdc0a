"""The typed facade of the plugins: one method or property per hook; no other code calls hooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from synflow_bench.errors import NAME_RULE, PluginError, UsageError, is_plain_name, one_line, printable
from synflow_bench.host.hookspecs import RunFinished, RunStarted
from synflow_bench.host.loading import (
    COMMAND,
    REMEDY,
    Switches,
    discover,
    load_files,
    make_logger,
    mark_clashes,
    with_commands,
)
from synflow_bench.host.plugin_class import PluginClass
from synflow_bench.host.plugin_file import PluginFile
from synflow_bench.host.registry import Entry, Plugin, PluginStatus, Registry
from synflow_bench.process import ProcessState

if TYPE_CHECKING:
    import click

    from synflow_bench.data import Dataset
    from synflow_bench.records import Epoch, Record
    from synflow_bench.suites import Cell, Suite


def _warn(line: str) -> None:
    print(f"warning: {printable(line)}", file=sys.stderr)


class Host:
    """The installed plugins, and those of `files`.

    An error of one plugin is reported in one line and does not affect the others.

    Args:
        plugins: The installed plugins; `Host.load` finds them.
        report: Takes each warning as one line; by default it goes to stderr.
        strict: Raise instead of quarantining a plugin.
        files: Plugin files for this run.

    Example:
        >>> from synflow_bench.host import Host
        >>> "synflow" in Host.load().pruners
        True
    """

    def __init__(
        self,
        plugins: Sequence[Plugin],
        report: Callable[[str], None] = _warn,
        *,
        strict: bool = False,
        files: Sequence[PluginFile | PluginClass] = (),
    ) -> None:
        self.files = tuple(files)
        self._plugins = mark_clashes([*plugins, *load_files(self.files)])
        self._report = report
        self._strict = strict
        self._loggers: list[Plugin] = []
        self._reported: set[tuple[str, str]] = set()
        for plugin in self.quarantined:
            self._warn_of(plugin)

    @classmethod
    def load(
        cls,
        report: Callable[[str], None] = _warn,
        environment: Mapping[str, str] = os.environ,
        files: Sequence[PluginFile | PluginClass] = (),
        only: Collection[str] | None = None,
    ) -> Self:
        """Find and load every installed plugin, and those of `files`.

        What a plugin changes of this process when it is imported, such as environment variables, is restored.

        Args:
            report: Takes each warning as one line.
            environment: Variables, of which `SYNFLOW_BENCH_STRICT`, `SYNFLOW_BENCH_DISABLE` and
                `SYNFLOW_BENCH_FIRST_PARTY_ONLY` are read.
            files: Plugin files for this run; one that cannot be used is among `errors`.
            only: The distributions of third parties whose plugins are loaded; by default all.

        Raises:
            UsageError: `files` are given where only plugins of synflow-bench are loaded.
            PluginError: A plugin raises, and `SYNFLOW_BENCH_STRICT` is set. Otherwise it is quarantined with
                a warning.
        """
        switches = Switches.from_environment(environment)
        if switches.first_party_only and files:
            given = ", ".join(repr(file.given) for file in files)
            raise UsageError(f"--first-party-only loads no plugin of yours; leave it out, or {given}")
        process = os.getpid()
        try:
            with ProcessState.kept():
                plugins = discover(switches, only)
                if only is None:
                    for line in switches.unmatched(plugins):
                        report(line)
                return cls(plugins, report, strict=switches.strict, files=files)
        finally:
            if os.getpid() != process:  # a plugin has forked at its import: two would go on from here
                os._exit(0)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Every plugin that was found, whatever its status."""
        return tuple(self._plugins)

    @property
    def third_parties(self) -> tuple[str, ...]:
        """The distributions and files of third parties whose code this process has loaded, with versions."""
        loaded = (each for each in self._plugins if each.status != "blocked" and not each.is_first_party)
        return tuple(sorted({f"{each.distribution} {each.version}" for each in loaded}))

    @property
    def quarantined(self) -> tuple[Plugin, ...]:
        """The plugins that were set aside because they raised."""
        return self._with("quarantined")

    @property
    def errors(self) -> tuple[PluginError, ...]:
        """One error per invalid plugin, which breaks the contract or claims a taken name; files first."""
        invalid = sorted(self._with("invalid"), key=lambda plugin: plugin.kind == "plugin")
        return tuple(plugin.to_error() for plugin in invalid)

    def check(self) -> None:
        """Raise the first of `errors`, if there is one.

        Raises:
            PluginError: A plugin is invalid.
        """
        for error in self.errors:
            raise error

    def registry(self, kind: str) -> Registry[Any]:
        """Return the registered names of one of `KINDS`."""
        return Registry(kind, self._entries(kind))

    @property
    def pruners(self) -> Registry[Any]:
        """The pruners: subclasses of `synflow_bench.Pruner`."""
        return self.registry("pruner")

    @property
    def models(self) -> Registry[Any]:
        """The models: factories called as `factory(input_shape, num_classes, **options)`."""
        return self.registry("model")

    @property
    def datasets(self) -> Registry[Any]:
        """The datasets: subclasses of `synflow_bench.Dataset`."""
        return self.registry("dataset")

    def dataset_class(self, text: str) -> type[Dataset]:
        """Return the class of the dataset that `text` names, with or without options.

        Raises:
            UnknownNameError: Nothing has registered the name.
            PluginError: It cannot be imported, or is no dataset.
        """
        from synflow_bench.data import check_dataset_class
        from synflow_bench.suites import parse_dataset

        name, _ = parse_dataset(text)
        return check_dataset_class(self.datasets.get(name), self.datasets.entry(name).title)

    def dataset(self, text: str, root: Path) -> Dataset:
        """Return the dataset that `text` names, with its options.

        Args:
            text: `name` or `name[key=value,...]`.
            root: The data folder.

        Raises:
            UnknownNameError: There is no such dataset or option.
            UsageError: An option cannot be used.
            PluginError: What is registered is no dataset.
            DataError: Files that decide what the dataset is are missing or damaged.
        """
        return self.resolve_dataset(text, root)[1]

    def resolve_dataset(self, text: str, root: Path) -> tuple[str, Dataset]:
        """Return the dataset that `text` names, and the text that names it in records and keys.

        Raises:
            HandledError: As `dataset`.
        """
        from synflow_bench.data import LABEL, make_dataset, options_of
        from synflow_bench.suites import label_of, parse_dataset, read_text

        name, options = parse_dataset(text)
        label = read_text(options.pop(LABEL, "")) if options else ""
        if label in self.datasets:
            raise UsageError(f"{LABEL}={label} is the name of an installed dataset; choose another")
        if label and not is_plain_name(label):
            raise UsageError(f"{LABEL}={label} is not a name: {NAME_RULE}")
        title = self.datasets.entry(name).title
        dataset = make_dataset(self.datasets.get(name), options, title).resolve(root)
        known = options_of(dataset)
        return label_of(name, known | {LABEL: label} if label else known), dataset

    @property
    def executors(self) -> Registry[Any]:
        """The executors."""
        return self.registry("executor")

    @property
    def suites(self) -> Registry[Suite]:
        """The suites, read from their files when they are used."""
        return self.registry("suite")

    @property
    def loggers(self) -> Registry[Any]:
        """The loggers that can be switched on: factories called as `factory(target, results)`."""
        return self.registry("logger")

    def add_logger(self, name: str, target: str, results: Path) -> None:
        """Switch on a logger: it handles the events of runs from now on.

        Args:
            name: The logger.
            target: The place to which it writes; empty for its default.
            results: The results folder.

        Raises:
            UnknownNameError: There is no such logger.
            PluginError: It is not a logger, or its factory raises.
            HandledError: The logger's own error, if it cannot work.
        """
        self._loggers.append(make_logger(self.loggers, name, target, results))

    def commands(self, group: click.Group) -> None:
        """Add the plugins' commands to `group`; a plugin that claims a taken name becomes invalid."""
        before = self.quarantined
        self._plugins = mark_clashes(with_commands(plugin, group.commands) for plugin in self._plugins)
        for plugin in self.quarantined:
            if plugin not in before:
                self._warn_of(plugin)
        for entry in self._entries(COMMAND):
            group.add_command(cast("click.Command", entry.reference), entry.name)

    def run_started(self, run: RunStarted) -> None:
        """Send the start of a run to the loggers."""
        self._send("synflow_bench_run_started", run=run)

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Send the end of one training epoch of a cell to the loggers."""
        self._send("synflow_bench_epoch_finished", cell=cell, epoch=epoch)

    def cell_finished(self, record: Record) -> None:
        """Send the record of a finished cell to the loggers."""
        self._send("synflow_bench_cell_finished", record=record)

    def run_finished(self, run: RunFinished) -> None:
        """Send the end of a run to the loggers."""
        self._send("synflow_bench_run_finished", run=run)

    def _send(self, hook: str, **arguments: object) -> None:
        for plugin in (*self._plugins, *self._loggers):
            try:
                plugin.call(hook, **arguments)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # whatever a logger raises is its own fault
                if (plugin.title, hook) not in self._reported:
                    self._reported.add((plugin.title, hook))
                    self._report(f"{plugin.title} raised in {hook}: {one_line(error)}; the run goes on")

    def _warn_of(self, plugin: Plugin) -> None:
        if self._strict:
            raise plugin.to_error()
        self._report(f"{plugin.title} is quarantined: {plugin.cause}; {REMEDY}")

    def _with(self, status: PluginStatus) -> tuple[Plugin, ...]:
        return tuple(plugin for plugin in self._plugins if plugin.status == status)

    def _entries(self, kind: str) -> list[Entry]:
        return [entry for plugin in self._with("ok") for entry in plugin.entries if entry.kind == kind]
