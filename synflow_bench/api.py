"""The benchmark from Python: run a suite, load results. The command line calls the same functions.

Only `run` imports torch; loading and ranking results does not.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synflow_bench.arguments import pruner_specs, read_argument, unregistered_classes, with_epochs
from synflow_bench.data import default_data_root
from synflow_bench.errors import RecordError
from synflow_bench.host import Host, PluginClass, PluginFile
from synflow_bench.records import Metrics, Record, Result, Store, Timing
from synflow_bench.suites import (
    Suite,
    compression_of_sparsity,
    load_suite,
    override,
    validate,
)

if TYPE_CHECKING:
    import pandas

    from synflow_bench.arguments import PrunerLike
    from synflow_bench.execution import ExecutorFactory, Plan, Resources, Summary
    from synflow_bench.leaderboard import Leaderboard

ALL = "all"
"""Every installed pruner, in place of a list of pruners."""


class Results(Sequence[Result]):
    """Recorded cells, in a fixed order.

    Attributes:
        path: The results folder.
        summary: The counts of the run, and whether it ended early; None if the results were loaded.
        unreadable: One line per record that cannot be read.
        skipped: The datasets that were missing, each with the reason; their cells have no records.
    """

    def __init__(
        self,
        path: Path,
        results: Iterable[Result],
        summary: Summary | None = None,
        unreadable: Sequence[str] = (),
        skipped: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.summary = summary
        self.unreadable = tuple(unreadable)
        self.skipped = dict(skipped or {})
        self._results = tuple(results)

    def __len__(self) -> int:
        return len(self._results)

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return self._results[index]
        return Results(self.path, self._results[index], self.summary, self.unreadable, self.skipped)

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results)

    def __repr__(self) -> str:
        failed = f", {len(self.failed)} failed" if self.failed else ""
        skipped = f", dataset missing: {', '.join(self.skipped)}" if self.skipped else ""
        return f"<Results: {len(self)} cells{failed}{skipped} in {str(self.path)!r}>"

    @property
    def failed(self) -> tuple[Result, ...]:
        """The recorded cells that did not succeed, with the reason in `result.error`.

        Cells whose dataset was missing from the start have no record; `skipped` names their datasets.
        """
        return tuple(result for result in self if result.status != "ok")

    def records(self) -> list[Record]:
        """Read the full records: layers, curves and provenance too.

        Raises:
            RecordError: If a record cannot be read.
        """
        store = Store(self.path)
        return [record for result in self if (record := store.get(result.cell))]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return one row per cell: the cell, its metrics and its timing.

        Accuracies are shares from 0 to 1, and times are in seconds. A value that a cell lacks is None.
        """
        return [_row(result) for result in self]

    def to_dataframe(self) -> pandas.DataFrame:
        """Return the rows of `to_dicts` as a data frame.

        Raises:
            UsageError: If pandas is not installed.
        """
        from synflow_bench.leaderboard.data_formats import dataframe

        frame = dataframe(self.to_dicts())
        return frame if len(self) else frame.reindex(columns=list(_COLUMNS))

    def leaderboard(self, baseline: str | None = None) -> Leaderboard:
        """Aggregate the cells over their seeds, one board per setting.

        Args:
            baseline: The row that all others are compared with, paired by seed; by default none.

        Raises:
            RecordError: If no cell has succeeded.
            UnknownNameError: If no row is called `baseline`.
            UsageError: If `baseline` is not a name.
        """
        from synflow_bench.leaderboard import build_leaderboard

        baseline = read_argument("baseline", baseline)
        if not any(result.status == "ok" for result in self):
            reason = "; ".join(self.skipped.values()) or "`failed` has the errors"
            raise RecordError(f"no cell in {str(self.path)!r} has succeeded; {reason}")
        return build_leaderboard(self._results, baseline=baseline)


def load_results(path: str | Path = "results") -> Results:
    """Load every record of a results folder.

    Args:
        path: The results folder of `run` or of `synflow-bench run --results`.

    Returns:
        The results. A record that cannot be read is left out with a warning; `unreadable` has the reason.

    Raises:
        RecordError: If the folder does not exist, or has no records.
        UsageError: If `path` is not a path.

    Example:
        >>> import synflow_bench as sfb
        >>> results = sfb.load_results("leaderboard/smoke/results")  # doctest: +SKIP
        >>> results.leaderboard(baseline="random").to_markdown()  # doctest: +SKIP
    """
    folder = read_argument("path", path)
    if folder.is_file():
        raise RecordError(
            f"{str(folder)!r} is a file; `synflow-bench results import` unpacks an archive into a folder"
        )
    if not folder.is_dir():
        raise RecordError(f"no results folder {str(folder)!r}; `synflow_bench.run(results=...)` creates one")
    unreadable: list[str] = []
    found = Store(folder).results(unreadable)
    if not found and not unreadable:
        raise RecordError(f"no records in {str(folder)!r}; give the folder that a run has written")
    for line in unreadable:
        warnings.warn(f"{line}; it is left out", stacklevel=2)
    return Results(folder, found, unreadable=unreadable)


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
    plugins: str | Path | Iterable[str | Path] = (),
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    executor: str = "local",
    results: str | Path = "results",
    data: str | Path | None = None,
    force: bool = False,
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
        plugins: Python files that are plugins for this run.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        workers: The number of cells that run at the same time, at least 1; by default as many as fit.
        threads: CPU threads per worker. Results depend on this number.
        executor: The name of an installed executor, such as "local" or "serial".
        results: The results folder.
        data: The data folder; by default the one that `SYNFLOW_BENCH_DATA` names, or one of the user's own.
        force: Run recorded cells again; their old records are kept in `replaced/`.
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
            plugins=plugins,
            device=device,
            workers=workers,
            threads=threads,
            executor=executor,
            results=results,
            data=default_data_root() if data is None else data,
            force=force,
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
    """

    host: Host
    store: Store
    plan: Plan
    factory: ExecutorFactory
    resources: Resources
    warnings: list[str] = field(default_factory=list)

    def run(self, *, progress: bool = True) -> Results:
        """Run the missing cells, and read the records of all cells.

        An interrupt or an executor that cannot continue ends the run early, as `Results.summary` reports.

        Raises:
            UsageError: If the executor cannot use the resources.
            DeviceError: If the device is not on this machine.
            RecordError: If a record cannot be written.
        """
        from synflow_bench.progress import run_with_progress

        summary = run_with_progress(
            self.plan, self.store, self.host, self.factory, self.resources, show=progress
        )
        found, unreadable = [], []
        for cell in self.plan.cells:
            try:
                record = self.store.get(cell)
            except RecordError as error:
                unreadable.append(str(error))
                continue
            if record:
                found.append(Result.of(record))
        skipped = {cell.setting.dataset for cell in self.plan.skipped}
        reasons = {name: line for name, line in self.plan.unavailable.items() if name in skipped}
        return Results(self.store.root, found, summary, unreadable, reasons)


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
    plugins: str | Path | Iterable[str | Path] = (),
    device: str = "auto",
    workers: int | None = None,
    threads: int = 1,
    executor: str = "local",
    results: str | Path = "results",
    data: str | Path,
    force: bool = False,
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
    from synflow_bench.execution import (
        Resources,
        cells_of,
        check_settings,
        installed_pruners,
        make_plan,
        resolve_datasets,
        resolve_pruners,
    )

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
        "plugins": plugins,
        "device": device,
        "workers": workers,
        "threads": threads,
        "executor": executor,
        "results": results,
        "data": data,
        "force": force,
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
    specs = pruner_specs(wanted, host)
    for dataset in given["datasets"] or ():
        host.dataset_class(dataset)
    for model in given["models"] or ():
        host.models.entry(model)
    chosen = override(
        find_suite(given["suite"], host),
        datasets=given["datasets"] or (),
        models=given["models"] or (),
        compressions=given["compressions"] or (),
        seeds=given["seeds"],
        ablations=given["ablations"] or (),
        protocol=given["protocol"] or {},
        assignments=given["overrides"],
    )
    chosen = resolve_datasets(chosen, host, given["data"])
    everything = given["pruners"] == [ALL]
    specs = specs if specs or everything else list(chosen.pruners)
    resolved = resolve_pruners(specs, host) if specs else installed_pruners(host, notes.append)
    factory = host.executors.get(executor)
    resources = Resources(given["data"], device, given["workers"] or 0, given["threads"], host.files)
    store = Store(given["results"])
    plan = make_plan(
        cells_of(chosen, resolved, host, given["data"]),
        host,
        store,
        given["data"],
        force=force,
        retry_failed=retry_failed,
    )
    check_settings(plan, host)
    return PreparedRun(host, store, plan, factory, resources, [*notes, *_warnings(plan, host, store)])


def _warnings(plan: Plan, host: Host, store: Store) -> Iterator[str]:
    """Yield what the user should know before the plan is run, a line each."""
    from synflow_bench.execution import changed_files

    replaced = str(store.root / "replaced")
    kept = f"unless you restore it, its cell runs again and the file is moved to {replaced!r}"
    yield from (f"{line}; {kept}" for line in plan.unreadable.values())
    yield from plan.unavailable.values()
    for name, cells in changed_files(plan, host, store).items():
        again = "to run them again, use --force (force=True), or raise its `revision`"
        yield f"{cells} recorded cell{'s' * (cells > 1)} used another version of {name!r}; {again}"


def compressions_of(compressions: Sequence[float], sparsities: Sequence[float]) -> list[float]:
    """Return compression ratios, followed by sparsities as compression ratios.

    Raises:
        UsageError: If a sparsity is not at least 0 and below 1.

    Example:
        >>> compressions_of([2], [0.9])
        [2, 10.0]
    """
    return [*compressions, *(compression_of_sparsity(each) for each in sparsities)]


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


_CELL_COLUMNS = (
    *("key", "status", "dataset", "model", "protocol", "setting"),
    *("pruner", "ablation", "target_compression", "seed"),
)
_COLUMNS = (*_CELL_COLUMNS, *Metrics.model_fields, *Timing.model_fields, "error")


def _row(result: Result) -> dict[str, Any]:
    cell, setting = result.cell, result.cell.setting
    place = (setting.dataset_label, setting.model.name, setting.protocol.name, setting.id)
    values = (result.key, result.status, *place, cell.row, cell.ablation, cell.compression, cell.seed)
    return {
        **dict.fromkeys(_COLUMNS),
        **dict(zip(_CELL_COLUMNS, values, strict=True)),
        **(result.metrics.model_dump() if result.metrics else {}),
        **(result.timing.model_dump() if result.timing else {}),
        "error": str(result.error) if result.error else None,
    }
