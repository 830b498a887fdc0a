"""Which networks `bench` measures, and what the suites would take."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from synflow_bench.cli._choice import find_suite
from synflow_bench.errors import HandledError, RecordError, UsageError
from synflow_bench.execution import (
    Crew,
    Estimate,
    Resources,
    by_setting,
    cells_of,
    expected,
    installed_pruners,
    make_bench,
    resolve_pruners,
)
from synflow_bench.execution.local import LocalExecutor
from synflow_bench.host import Host
from synflow_bench.speed import (
    BRIEF,
    THOROUGH,
    Book,
    Machine,
    Speed,
    Synthetic,
    Workload,
    book_path,
    measure,
)
from synflow_bench.suites import Cell, ModelSpec, PrunerSpec, Recipe, Setting, Suite, expand_pruners, validate
from synflow_bench.training import resolve_devices

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What was asked for; without `models` nothing is begun after `seconds`."""

    suites: tuple[str, ...]
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    pruners: tuple[str, ...]
    device: str
    threads: int
    quick: bool
    seconds: float
    data: Path


@dataclass(frozen=True)
class SuiteTime:
    """A suite's cells, and the seconds of those whose settings' speed is known, with all workers."""

    name: str
    cells: int
    known: int
    seconds: float


@dataclass(frozen=True)
class Measured:
    """All that `bench` found; `kept` is the file that has it now."""

    machine: Machine
    speeds: tuple[Speed, ...]
    suites: tuple[SuiteTime, ...]
    workers: int
    kept: Path | None


def measure_all(order: Order, host: Host, *, keep: bool, say: Say) -> Measured:
    """Measure what is asked for, note it in the book, and estimate the installed suites."""
    device = str(resolve_devices(order.device)[0])
    pruners = _pruners(order, host)
    path = book_path(order.data)
    if keep:
        _check_writable(path)
    settings = list(_settings(order, host, say))
    bench = make_bench(order.data, device, order.threads, host.files)
    machine = Machine.of(bench)
    speeds = tuple(_speeds(settings, Synthetic.like(bench), pruners, order, say))
    book = _book(path, say).noting(machine, speeds)
    if keep:
        book.write(path)
    resources = Resources(order.data, order.device, 0, order.threads, host.files)
    crew = _crew(resources)
    suites = tuple(_suite_times(order, host, book, machine, crew, say))
    return Measured(machine, speeds, suites, crew.workers, path if keep else None)


def _pruners(order: Order, host: Host) -> list[PrunerSpec]:
    specs = [validate(PrunerSpec, each, "pruner") for each in expand_pruners(order.pruners)]
    return resolve_pruners(specs, host)


def _check_writable(path: Path) -> None:
    """Before any measuring: it takes minutes."""
    way_out = "choose another folder with --data, or add --no-keep"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(f"cannot make {str(path.parent)!r}: {error.strerror}; {way_out}") from error
    if not os.access(path.parent, os.W_OK) or path.is_dir():
        raise RecordError(f"cannot write {str(path)!r}; {way_out}")


def _book(path: Path, say: Say) -> Book:
    try:
        return Book.read(path)
    except HandledError as error:
        say(f"warning: {error}")
        return Book()


def _settings(order: Order, host: Host, say: Say) -> Iterator[Setting]:
    """One setting of each workload, small images first; named networks that no suite has get a recipe."""
    found: dict[str, Setting] = {}
    for suite in _suites(order, host, say):
        for setting in suite.settings:
            if _is_asked_for(setting, order):
                workload = Workload.of(setting, host.datasets.get(setting.dataset))
                found.setdefault(workload.model_dump_json(), setting)
    given = list(found.values())
    given += _unknown_to_suites(order, given)
    if not given:
        raise UsageError(f"no suite has a network on {', '.join(order.datasets)}; name one with --model")
    yield from sorted(given, key=lambda each: prod(host.datasets.get(each.dataset).input_shape))


def _is_asked_for(setting: Setting, order: Order) -> bool:
    return (not order.models or setting.model.name in order.models) and (
        not order.datasets or setting.dataset in order.datasets
    )


def _unknown_to_suites(order: Order, given: list[Setting]) -> Iterator[Setting]:
    known = {(setting.dataset, setting.model.name) for setting in given}
    for model in order.models:
        if not order.datasets and not any(name == model for _, name in known):
            raise UsageError(f"no suite has model {model!r}; say on which form of data with --dataset")
        for dataset in order.datasets:
            if (dataset, model) not in known:
                yield Setting(dataset=dataset, model=ModelSpec(name=model), recipe=Recipe(epochs=1))


def _speeds(
    settings: list[Setting], bench: Synthetic, pruners: list[PrunerSpec], order: Order, say: Say
) -> Iterator[Speed]:
    end = time.monotonic() + order.seconds
    for number, setting in enumerate(settings):
        if time.monotonic() > end:
            left = ", ".join(dict.fromkeys(each.title for each in settings[number:]))
            say(f"time is up; not measured: {left}; name networks with --model, or give more --minutes")
            return
        say(f"{number + 1}/{len(settings)} {setting.title}")
        try:
            yield measure(setting, bench, pruners, BRIEF if order.quick else THOROUGH)
        except HandledError as error:
            say(f"warning: {error}")


def _crew(resources: Resources) -> Crew:
    executor = LocalExecutor(resources, lambda _cell, _epoch: None)
    executor.close()
    return Crew(executor.workers, executor.most_together)


def _suites(order: Order, host: Host, say: Say) -> Iterator[Suite]:
    yield from (find_suite(name, host) for name in order.suites)
    for name in () if order.suites else host.suites.names():
        try:
            yield host.suites.get(name)
        except HandledError as error:
            say(f"warning: {error}")


def _suite_times(
    order: Order, host: Host, book: Book, machine: Machine, crew: Crew, say: Say
) -> Iterator[SuiteTime]:
    every = installed_pruners(host, lambda line: say(f"warning: {line}"))
    for suite in _suites(order, host, lambda _: None):
        try:
            pruners = resolve_pruners(suite.pruners, host) if suite.pruners else every
            groups = by_setting(cells_of(suite, pruners, host))
        except HandledError as error:
            say(f"warning: suite {suite.name!r} is left out: {error}")
            continue
        estimates = [
            each for group in groups if (each := _estimate(group, host, book, machine, crew)) is not None
        ]
        seconds = sum(each.cells * (each.seconds or 0.0) for each in estimates) / crew.workers
        known = sum(each.cells for each in estimates)
        yield SuiteTime(suite.name, sum(map(len, groups)), known, seconds)


def _estimate(group: Sequence[Cell], host: Host, book: Book, machine: Machine, crew: Crew) -> Estimate | None:
    setting = group[0].setting
    kind = host.datasets.get(setting.dataset)
    speed = book.find(machine, Workload.of(setting, kind))
    return None if speed is None else expected(group, speed, kind.sizes, crew, "")
