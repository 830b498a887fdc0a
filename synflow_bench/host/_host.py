"""The typed face of the plugin manager: one method or property a hook; nobody else calls hooks."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from synflow_bench.errors import PluginError
from synflow_bench.host._causes import one_line
from synflow_bench.host._clashes import mark_clashes
from synflow_bench.host._discovery import discover, join_files
from synflow_bench.host._events import RunFinished, RunStarted
from synflow_bench.host._files import PluginFile
from synflow_bench.host._loggers import make_logger
from synflow_bench.host._plugin import Plugin, Report, Status
from synflow_bench.host._registry import Entry, Registry
from synflow_bench.host._switches import DISABLE, Switches

if TYPE_CHECKING:
    import click

    from synflow_bench.records import Epoch, Record
    from synflow_bench.suites import Cell, Suite


def warn(line: str) -> None:
    """Write a warning to stderr."""
    print(f"warning: {line}", file=sys.stderr)


class Host:
    """The installed plugins and those of `files`.

    What one does wrong is told through `report` in a line, and harms no other.
    """

    def __init__(
        self,
        plugins: Sequence[Plugin],
        report: Report = warn,
        *,
        strict: bool = False,
        files: Sequence[PluginFile] = (),
    ) -> None:
        self.files = tuple(files)
        self._plugins = mark_clashes([*plugins, *join_files(self.files)])
        self._report = report
        self._strict = strict
        self._loggers: list[Plugin] = []
        self._muted: set[tuple[str, str]] = set()
        for plugin in self.quarantined:
            self._complain(plugin)

    @classmethod
    def load(
        cls,
        report: Report = warn,
        environment: Mapping[str, str] = os.environ,
        files: Sequence[PluginFile] = (),
    ) -> Self:
        """Find and load every installed plugin, and those of `files`.

        Raises `PluginError` for a plugin that raises, if `SYNFLOW_BENCH_STRICT` is set; without it the plugin
        is quarantined and reported. A file that cannot take part is among `faults`.
        """
        switches = Switches.from_environment(environment)
        plugins = discover(switches)
        for line in switches.idle(plugins):
            report(line)
        return cls(plugins, report, strict=switches.strict, files=files)

    @property
    def plugins(self) -> tuple[Plugin, ...]:
        """Every plugin that was found, whatever its status."""
        return tuple(self._plugins)

    @property
    def quarantined(self) -> tuple[Plugin, ...]:
        """The plugins that were set aside because they raised."""
        return self._with("quarantined")

    @property
    def faults(self) -> tuple[PluginError, ...]:
        """One error for each plugin that breaks the contract or claims a name of another; files first."""
        faults = sorted(self._with("fault"), key=lambda plugin: plugin.kind != "plugin file")
        return tuple(plugin.to_error() for plugin in faults)

    def check(self) -> None:
        """Raise the first of `faults`, if there is one."""
        for fault in self.faults:
            raise fault

    def registry(self, kind: str) -> Registry[Any]:
        """The names of one of `KINDS`."""
        return Registry(kind, self._entries(kind))

    @property
    def pruners(self) -> Registry[Any]:
        """The pruners: subclasses of `synflow_bench.Pruner`."""
        return self.registry("pruner")

    @property
    def models(self) -> Registry[Any]:
        """The networks: factories that take `(input_shape, num_classes, **options)`."""
        return self.registry("model")

    @property
    def datasets(self) -> Registry[Any]:
        """The data sets: subclasses of `synflow_bench.Dataset`."""
        return self.registry("dataset")

    @property
    def executors(self) -> Registry[Any]:
        """The executors."""
        return self.registry("executor")

    @property
    def suites(self) -> Registry[Suite]:
        """The suites, read from their files when they are asked for."""
        return self.registry("suite")

    @property
    def loggers(self) -> Registry[Any]:
        """The loggers that can be switched on: factories that take `(target, results)`."""
        return self.registry("logger")

    def add_logger(self, name: str, target: str, results: Path) -> None:
        """Have logger `name` hear of runs from now on; it writes to `target`, or where it would by default.

        Raises `UnknownNameError`, `PluginError` for what is no logger, and the `HandledError` of one that
        cannot work.
        """
        self._loggers.append(make_logger(self.loggers, name, target, results))

    def commands(self, group: click.Group) -> None:
        """Add the plugins' commands to `group`; one whose name is taken is a fault of its plugin."""
        from synflow_bench.host._commands import KIND, with_commands

        before = self.quarantined
        self._plugins = mark_clashes(with_commands(plugin, group.commands) for plugin in self._plugins)
        for plugin in self.quarantined:
            if plugin not in before:
                self._complain(plugin)
        for entry in self._entries(KIND):
            group.add_command(cast("click.Command", entry.reference), entry.name)

    def run_started(self, run: RunStarted) -> None:
        """Tell the loggers that a run starts."""
        self._tell("synflow_bench_run_started", run=run)

    def epoch_finished(self, cell: Cell, epoch: Epoch) -> None:
        """Tell the loggers that a cell has trained one more epoch."""
        self._tell("synflow_bench_epoch_finished", cell=cell, epoch=epoch)

    def cell_finished(self, record: Record) -> None:
        """Tell the loggers that a cell has its record."""
        self._tell("synflow_bench_cell_finished", record=record)

    def run_finished(self, run: RunFinished) -> None:
        """Tell the loggers that a run has ended."""
        self._tell("synflow_bench_run_finished", run=run)

    def _tell(self, hook: str, **arguments: object) -> None:
        for plugin in (*self._plugins, *self._loggers):
            try:
                plugin.call(hook, **arguments)
            except (Exception, SystemExit) as error:
                if (plugin.title, hook) not in self._muted:
                    self._muted.add((plugin.title, hook))
                    self._report(f"{plugin.title} raised in {hook}: {one_line(error)}; the run goes on")

    def _complain(self, plugin: Plugin) -> None:
        if self._strict:
            raise plugin.to_error()
        self._report(f"{plugin.title} is quarantined: {plugin.cause}; mend it, or name it in {DISABLE}")

    def _with(self, status: Status) -> tuple[Plugin, ...]:
        return tuple(plugin for plugin in self._plugins if plugin.status == status)

    def _entries(self, kind: str) -> list[Entry]:
        return [entry for plugin in self._with("ok") for entry in plugin.entries if entry.kind == kind]
