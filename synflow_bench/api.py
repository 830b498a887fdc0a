"""The benchmark from Python: check, plan and run a suite. The command line calls the same functions."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synflow_bench.arguments import (
    check_executor_options,
    compressions_of,
    pruner_rows,
    read_argument,
    unregistered_classes,
    with_epochs,
)
from synflow_bench.data import default_data_root
from synflow_bench.errors import DENSE, count
from synflow_bench.host import Host, PluginClass, PluginFile
from synflow_bench.limits import Limits
from synflow_bench.process import ProcessState
from synflow_bench.records import Store, key_of, read_kinds
from synflow_bench.results import Results
from synflow_bench.runs import Runs
from synflow_bench.suites import (
    Suite,
    Tuning,
    load_suite,
    override,
    parse_dataset,
    validate,
)

if TYPE_CHECKING:
    from synflow_bench.arguments import PrunerLike
    from synflow_bench.execution import ExecutorFactory, Plan, Resources

ALL = "all"
"""Every installed pruner, in place of a list of pruners."""


def run(
    suite: str | Path | Suite | Mapping[str, Any] = "quick",
    *,
    pruners: PrunerLike | Iterable[PrunerLike] | None = None,
    datasets: str | Iterable[str] | None = None,
    models: str | Iterable[str] | None = None,
    compressions: float | Iterable[float] | None = None,
    sparsities: float | Iterable[float] | None = None,
    seeds: int | Iterable[int] | None = None,
    epochs: int | None = None,
    ablations: str | Iterable[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    tune: str | Mapping[str, Iterable[float]] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    executor: str = "local",
    executor_options: Mapping[str, Any] | None = None,
    results: str | Path = "results",
    data: str | Path | None = None,
    shard: str | None = None,
    limits: Limits | None = None,
    checkpoint_minutes: float = 10.0,
    checkpoint_epochs: int = 0,
    force: bool = False,
    keep: str | Iterable[str] | None = None,
    progress: bool = True,
) -> Results:
    """Prune, train and record the cells of a suite, and return the results.

    Recorded cells are not run again. To continue a run that was stopped, repeat the call. Where a list is
    expected, one value stands for a list of one.

    Args:
        suite: The name of an installed suite, the path of a TOML file, a `Suite`, or its fields as a mapping.
        pruners: Names, specs such as `"synflow[rounds=10]"`, `Pruner` classes or instances; `"all"` for every
            installed pruner. By default those of the suite, or every installed one if it names none.
        datasets: The names of datasets, instead of those of the suite.
        models: The names of models, instead of those of the suite.
        compressions: Compression ratios, prunable weights over kept ones: 10 keeps one weight in ten.
        sparsities: The same as shares of removed weights: 0.9 is compression 10.
        seeds: The number of seeds, or a list of them: 3 is [0, 1, 2], and [7] is the one seed 7.
        epochs: The epochs of every recipe.
        ablations: "none", "shuffle", "reinit", "invert", "random-labels" or "random-inputs".
        overrides: Changes of every setting by path, such as `{"recipe.lr": 0.01}`.
        tune: A field of the recipe and values to choose from for every pruner by validation accuracy, such
            as `"lr=0.001|0.003|0.01"` or `{"lr": [0.001, 0.003, 0.01]}`: each value is a training more.
        plugins: Python files that are plugins for this run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        workers: The number of cells that run at the same time, at least 1; by default as many as fit.
        threads: CPU threads per worker. Results depend on this number.
        executor: The name of an installed executor, such as "local", "serial" or "ray".
        executor_options: Its options, such as `{"address": "auto", "gpus": 0.5}` for "ray".
        results: The results folder.
        data: The data folder; by default the one that `SYNFLOW_BENCH_DATA` names, or one of the user's own.
        shard: One part of the cells, such as "1/3", for machines that share no results folder.
        limits: The limits of cells and workers, such as `Limits(cell_timeout=1800)` in seconds.
        checkpoint_minutes: The minutes after which a running cell is saved, to continue from there after an
            interruption; 0 for no limit of time.
        checkpoint_epochs: The epochs after which it is saved; 0 for any number.
        force: Run recorded cells again; their old records are kept in `replaced/`.
        keep: "masks", "weights" or both: files beside the records of the cells that this call runs.
        progress: Show progress and failures on stderr.

    Returns:
        The results of all cells of the suite, including those recorded before. A cell that fails does not
        raise an error; it is in `Results.failed`.

    Raises:
        UsageError: If an argument cannot be used as given.
        UnknownNameError: If nothing installed has a name that is given.
        SuiteError: If the suite is not valid.
        PluginError: If a plugin breaks the contract.
        RecordError: If the results folder cannot be read or written.
        ExecutorError: If no further cell can be run.
        KeyboardInterrupt: If the run was interrupted; finished cells are recorded.

    Example:
        >>> import synflow_bench as sfb
        >>> results = sfb.run("quick", pruners=["synflow", "random"], seeds=3)  # doctest: +SKIP
        >>> results.to_dataframe().groupby(["pruner", "compression"]).test_top1.mean()  # doctest: +SKIP
    """
    ratios: list[float] = read_argument("compressions", compressions) or []
    shares: list[float] = read_argument("sparsities", sparsities) or []
    changes = with_epochs(read_argument("overrides", overrides), read_argument("epochs", epochs))
    progress = read_argument("progress", progress)
    drawn = random.getstate()  # some imports draw from it
    try:
        prepared = prepare(
            suite,
            pruners=pruners,
            datasets=datasets,
            models=models,
            compressions=compressions_of(ratios, shares) or None,
            seeds=seeds,
            ablations=ablations,
            overrides=changes,
            tune=tune,
            plugins=plugins,
            device=device,
            workers=workers,
            threads=threads,
            executor=executor,
            executor_options=executor_options,
            results=results,
            data=default_data_root() if data is None else data,
            shard=shard,
            limits=limits,
            checkpoint_minutes=checkpoint_minutes,
            checkpoint_epochs=checkpoint_epochs,
            force=force,
            keep=keep,
        )
        for line in prepared.warnings:
            warnings.warn(line, stacklevel=2)
        found = prepared.run(progress=progress)
    finally:
        random.setstate(drawn)
    if found.summary is not None and found.summary.interrupted:
        raise KeyboardInterrupt
    if found.summary is not None and found.summary.stopped:
        from synflow_bench.execution import ExecutorError

        raise ExecutorError(found.summary.stopped)
    return found


@dataclass(frozen=True)
class PreparedRun:
    """A run that is checked and planned, but not started.

    Attributes:
        host: The plugins.
        store: The results folder.
        plan: The recorded and the missing cells.
        factory: The executor to make.
        resources: The data folder, the device, the workers and their threads.
        warnings: Lines that the user should read before the run.
        tuning: The field of the recipe that is tuned for every pruner, if there is one.
    """

    host: Host
    store: Store
    plan: Plan
    factory: ExecutorFactory
    resources: Resources
    warnings: list[str] = field(default_factory=list)
    tuning: Tuning | None = None

    def run(self, *, progress: bool = True, log: Path | None = None) -> Results:
        """Run the missing cells, and read the records of all cells.

        An interrupt or an executor that cannot continue ends the run early, as `Results.summary` reports.

        Args:
            progress: Show progress and failures on stderr.
            log: A file for the events of the run, one JSON object per line; an existing one is continued.

        Raises:
            UsageError: If the executor cannot use the resources.
            DeviceError: If the device is not on this machine.
            RecordError: If a record or the log cannot be written; before the run, if the folder or the disk
                is such.
        """
        from synflow_bench.events import EventLog
        from synflow_bench.progress import run_with_progress

        summary = run_with_progress(
            self.plan,
            self.store,
            self.host,
            self.factory,
            self.resources,
            show=progress,
            log=EventLog(log) if log else None,
        )
        unreadable: list[str] = []
        ended_early = summary.interrupted or summary.stopped or summary.detached
        may_be_missing = {key_of(cell) for cell in (self.plan.cells if ended_early else self.plan.skipped)}
        found = self.store.results_of(
            self.plan.cells, unreadable, lambda cell: key_of(cell) not in may_be_missing
        )
        skipped = {cell.setting.dataset for cell in self.plan.skipped}
        reasons = {name: line for name, line in self.plan.unavailable.items() if name in skipped}
        return Results(self.store.root, found, summary, unreadable, reasons, self.tuning)


def prepare(
    suite: str | Path | Suite | Mapping[str, Any],
    *,
    pruners: PrunerLike | Iterable[PrunerLike] | None = None,
    datasets: str | Iterable[str] | None = None,
    models: str | Iterable[str] | None = None,
    compressions: float | Iterable[float] | None = None,
    seeds: int | Iterable[int] | None = None,
    ablations: str | Iterable[str] | None = None,
    protocol: Mapping[str, Any] | None = None,
    overrides: Mapping[str, Any] | list[str] | None = None,
    tune: str | Mapping[str, Iterable[float]] | None = None,
    plugins: str | Path | Iterable[str | Path] = (),
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    executor: str = "local",
    executor_options: Mapping[str, Any] | None = None,
    results: str | Path = "results",
    data: str | Path,
    shard: str | None = None,
    limits: Limits | None = None,
    checkpoint_minutes: float = 10.0,
    checkpoint_epochs: int = 0,
    force: bool = False,
    keep: str | Iterable[str] | None = None,
    retry_failed: bool = True,
    host: Host | None = None,
) -> PreparedRun:
    """Check and plan a run without writing anything; `run` describes the other arguments and the errors.

    Args:
        protocol: Fields of the protocol, such as `{"name": "multishot", "levels": 3}`.
        overrides: As those of `run`, or text: `["recipe.lr=0.01"]`.
        retry_failed: Run failed cells again.
        host: The plugins, if they are loaded already.
    """
    given: dict[str, Any] = {
        "suite": suite,
        "pruners": pruners,
        "datasets": datasets,
        "models": models,
        "compressions": compressions,
        "seeds": seeds,
        "ablations": ablations,
        "protocol": protocol,
        "overrides": overrides,
        "tune": tune,
        "plugins": plugins,
        "device": device,
        "workers": workers,
        "threads": threads,
        "executor": executor,
        "executor_options": executor_options,
        "results": results,
        "data": data,
        "shard": shard,
        "checkpoint_minutes": checkpoint_minutes,
        "checkpoint_epochs": checkpoint_epochs,
        "force": force,
        "keep": keep,
        "retry_failed": retry_failed,
    }
    given = {name: read_argument(name, value) for name, value in given.items()}
    wanted: list[PrunerLike] = [] if given["pruners"] in (None, [ALL]) else given["pruners"]
    notes: list[str] = []
    if host is None:
        files: list[PluginFile | PluginClass] = [PluginFile.read(path) for path in given["plugins"]]
        host = Host.load(files=files)
        if classes := unregistered_classes(wanted, host):
            host = Host.load(report=lambda _: None, files=[*files, *classes])
        host.check()
    specs = pruner_rows(wanted, host)
    for model in given["models"] or ():
        host.models.entry(model)
    for dataset in given["datasets"] or ():
        host.datasets.entry(parse_dataset(dataset)[0])
    chosen = override(
        find_suite(given["suite"], host),
        datasets=given["datasets"] or (),
        models=given["models"] or (),
        compressions=given["compressions"] or (),
        seeds=given["seeds"],
        ablations=given["ablations"] or (),
        pruners=specs,
        protocol=given["protocol"] or {},
        assignments=given["overrides"],
        tune=given["tune"],
    )
    everything = given["pruners"] == [ALL]
    specs = specs if specs or everything else list(chosen.pruners)
    for spec in specs:
        if spec.name != DENSE:
            host.pruners.entry(spec.name)
    host.executors.entry(executor)

    from synflow_bench.execution import (  # loads torch: a misspelled name is an error before that
        Resources,
        cells_of,
        check_settings,
        installed_pruners,
        make_plan,
        resolve_datasets,
        resolve_pruners,
        shard_of,
    )
    from synflow_bench.protocols import Checkpoints

    for dataset in given["datasets"] or ():
        host.dataset_class(dataset)
    chosen = resolve_datasets(chosen, host, given["data"])
    resolved = resolve_pruners(specs, host) if specs else installed_pruners(host, notes.append)
    factory = host.executors.get(executor)
    check_executor_options(executor, factory, given["executor_options"] or {})
    store = Store(given["results"])
    minutes, between = given["checkpoint_minutes"], given["checkpoint_epochs"]
    saved = Checkpoints.of(store.root, minutes=minutes, epochs=between) if minutes or between else None
    resources = Resources(
        given["data"],
        device,
        given["workers"] or 0,
        given["threads"],
        host.files,
        checkpoints=saved,
        results=store.root,
        options=given["executor_options"] or {},
        limits=limits or Limits(),
        keep=read_kinds(",".join(given["keep"])) if given["keep"] else (),
    )
    cells = cells_of(chosen, resolved, host, given["data"])
    plan = make_plan(
        shard_of(cells, *given["shard"]) if given["shard"] else cells,
        host,
        store,
        given["data"],
        force=force,
        retry_failed=retry_failed,
    )
    with ProcessState.kept():
        check_settings(plan, host)
    if cells and not plan.cells:
        notes = [*notes, f"shard {shard} has no cells of {len(cells)}; other shards have them"]
    lines = [*notes, *_warnings(plan, host, store)]
    return PreparedRun(host, store, plan, factory, resources, lines, chosen.tune)


def _warnings(plan: Plan, host: Host, store: Store) -> Iterator[str]:
    """Yield what the user should know before the plan is run, a line each."""
    from synflow_bench.execution import changed_files

    replaced = str(store.root / "replaced")
    kept = f"unless you restore it, its cell runs again and the file is moved to {replaced!r}"
    yield from (f"{line}; {kept}" for line in plan.unreadable.values())
    unreadable: list[str] = []
    Runs(store.root).states(unreadable)
    yield from unreadable
    yield from plan.unavailable.values()
    for name, cells in changed_files(plan, host, store).items():
        again = "to run them again, name it alone with --force (force=True), or raise its `revision`"
        yield f"{count(cells, 'recorded cell')} used another version of {name!r}; {again}"


def find_suite(suite: str | Path | Suite | Mapping[str, Any], host: Host) -> Suite:
    """Return the suite of an installed name, of a TOML file, or of its fields.

    Raises:
        UnknownNameError: If no suite has this name.
        SuiteError: If the suite is not valid.
    """
    if isinstance(suite, Suite):
        return suite
    if isinstance(suite, Mapping):
        return validate(Suite, {"name": "suite", **suite}, "suite")
    name = str(suite)
    is_file = isinstance(suite, Path) or name.endswith(".toml") or "/" in name or "\\" in name
    return load_suite(Path(name)) if is_file and name not in host.suites else host.suites.get(name)
