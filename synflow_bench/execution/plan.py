"""The plan of a run: its pruners and cells, their records, and the check of their settings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from synflow_bench.data import Dataset, check_declared, default_data_root, download_command
from synflow_bench.errors import HandledError, PluginError, RecordError, SuiteError, UsageError, one_line
from synflow_bench.host import Host
from synflow_bench.protocols import blamed_on, check_network, check_rewind, plugins_of, revisions_of
from synflow_bench.pruning import resolve_pruner
from synflow_bench.records import ResultReader, Store, file_name, read_record
from synflow_bench.suites import (
    DENSE,
    Cell,
    ModelSpec,
    PrunerRow,
    PrunerSpec,
    PruningOptions,
    Revisions,
    Setting,
    Suite,
    dataset_label,
    expand,
    parse_dataset,
)


def resolve_pruners(specs: Iterable[PrunerSpec], host: Host) -> list[PrunerRow]:
    """Complete the specs with all parameters and their labels; equal ones are returned once.

    Raises:
        UnknownNameError: A name or a parameter is unknown.
        UsageError: A value has the wrong type, or a spec is the dense network, which is always a row.
        PluginError: A pruner cannot be imported or is not a `Pruner`.
    """
    resolved = {}
    for spec in map(PrunerRow.model_validate, specs):
        if spec.name == DENSE:
            raise UsageError("the dense network is always a row; leave out pruner 'dense'")
        _, full = resolve_pruner(host.pruners.get(spec.name), spec, host.pruners.entry(spec.name).title)
        row = PrunerRow.model_validate(full).model_copy(update={"protocol": spec.protocol})
        resolved[row.label, row.protocol] = row
    return list(resolved.values())


def installed_pruners(host: Host, report: Callable[[str], None]) -> list[PrunerRow]:
    """Resolve every installed pruner; `report` is called with one line for each that cannot be used."""
    found = []
    for name in host.pruners.names():
        try:
            found += resolve_pruners([PrunerSpec(name=name)], host)
        except PluginError as error:
            report(f"{error}; it is left out")
    return found


_DATA_ABLATIONS = ("random-labels", "random-inputs")


@dataclass(frozen=True)
class Plan:
    """The cells of a run, each in one of four lists.

    Attributes:
        cells: All cells.
        recorded: Those that need no work: their records are `ok`, or say that the method is not defined.
        failed: Those with a failed record that is kept.
        missing: Those to be run.
        skipped: Those whose dataset is missing.
        unavailable: The missing datasets, each with one line that says how to get it.
        unreadable: The files of missing cells that are not valid records, with the reasons.
        datasets: The datasets of the cells, by the text that names them.
        forced: True if recorded cells are to be run again.
    """

    cells: list[Cell]
    recorded: list[Cell] = field(default_factory=list)
    failed: list[Cell] = field(default_factory=list)
    missing: list[Cell] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)
    datasets: dict[str, Dataset] = field(default_factory=dict)
    forced: bool = False


def resolve_datasets(suite: Suite, host: Host, data_root: Path) -> Suite:
    """Replace the options of every dataset by those that keys contain: a fingerprint in place of a path.

    Raises:
        HandledError: A dataset or an option is unknown, or the files that it names cannot be used.
    """
    given = dict.fromkeys(setting.dataset for setting in suite.settings)
    texts = {text: host.resolve_dataset(text, data_root)[0] for text in given if "[" in text}
    changed = [
        setting.model_copy(update={"dataset": texts.get(setting.dataset, setting.dataset)})
        for setting in suite.settings
    ]
    return suite.model_copy(update={"settings": tuple(changed)}) if texts else suite


def cells_of(suite: Suite, pruners: list[PrunerRow], host: Host, data_root: Path | None = None) -> list[Cell]:
    """Expand `suite` for resolved `pruners`; data ablations only apply to pruners that need data.

    Raises:
        UnknownNameError: A dataset or a model is not installed.
        SuiteError: A training ends before the step that weights are rewound to, or a setting does not allow
            the protocol of a pruner.
        PluginError: A plugin's object cannot be imported.
    """

    def revisions(setting: Setting, pruner: PrunerSpec | None) -> Revisions:
        return revisions_of(setting, pruner.name if pruner else None, host)

    needs_data = {spec.name: host.pruners.get(spec.name).needs_data for spec in pruners}
    cells = expand(suite, pruners, revisions)
    for setting in {id(cell.setting): cell.setting for cell in cells}.values():
        if setting.protocol.step:
            dataset = host.dataset(setting.dataset, data_root or default_data_root())
            if hasattr(dataset, "sizes"):  # not if its files are missing that decide it
                check_rewind(setting, images=dataset.sizes[0])
    return [cell for cell in cells if cell.ablation not in _DATA_ABLATIONS or needs_data[cell.pruner.name]]


def make_plan(
    cells: list[Cell],
    host: Host,
    store: Store,
    data_root: Path,
    *,
    force: bool = False,
    retry_failed: bool = True,
) -> Plan:
    """Compare `cells` with the existing records and datasets; nothing is changed.

    Args:
        cells: All cells of the run.
        host: The plugins.
        store: The records.
        data_root: The data folder.
        force: Run every cell again.
        retry_failed: Run failed cells again.

    Raises:
        UnknownNameError: A dataset is not installed.
        RecordError: The records folder cannot be read.
    """
    names = dict.fromkeys(cell.setting.dataset for cell in cells)
    datasets = {name: host.dataset(name, data_root) for name in names}
    plan = Plan(cells, unavailable=_unavailable(datasets, host, data_root), datasets=datasets, forced=force)
    files, reader = _Files(store), ResultReader()
    for cell in cells:
        path = None if force else files.of(cell)
        status = _status(path, reader, plan.unreadable) if path else None
        if status in ("ok", "not defined"):
            plan.recorded.append(cell)
        elif status == "failed" and not retry_failed:
            plan.failed.append(cell)
        elif cell.setting.dataset in plan.unavailable:
            plan.skipped.append(cell)
        else:
            plan.missing.append(cell)
    return plan


class _Files:
    """The files of a store; each folder is listed once, because a plan may have a hundred thousand cells."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed: dict[tuple[str, str, str], tuple[Path, frozenset[str]]] = {}

    def of(self, cell: Cell) -> Path | None:
        """Return the file of the cell's record, or None where there is none."""
        place = cell.setting.dataset_label, cell.setting.model.name, cell.pruner.name
        if place not in self._listed:
            folder = self._store.folder(cell)
            self._listed[place] = folder, self._store.names_in(folder)
        folder, names = self._listed[place]
        if names and (name := file_name(cell)) in names:
            return folder / name
        return None


def _status(path: Path, reader: ResultReader, unreadable: dict[Path, str]) -> str | None:
    try:
        return reader.read(str(path), in_full=True).outcome
    except RecordError as error:
        unreadable[path] = str(error)
        return None


def _unavailable(datasets: Mapping[str, Dataset], host: Host, data_root: Path) -> dict[str, str]:
    missing = {}
    for text, dataset in datasets.items():
        name, _ = parse_dataset(text)
        title = host.datasets.entry(name).title
        try:
            present = dataset.present(data_root)
            way = None if present else dataset.by_hand(data_root)
            if present:
                check_declared(dataset)
        except HandledError as error:
            raise PluginError(f"{title}: {error}") from error
        except Exception as error:
            raise PluginError(f"{title}: it raises {one_line(error)} when asked for its files") from error
        if not present:
            place = dataset.place(data_root)
            way = way or f"`{download_command(data_root, name)}` fetches it" + (
                f"; published files go into {place}" if place else ""
            )
            missing[text] = f"dataset {dataset_label(text)!r} is not in {str(data_root)!r}; {way}"
    return missing


def check_settings(plan: Plan, host: Host) -> None:
    """Check that the settings of missing cells can build and prune their networks.

    Every network is tried once, with the input shape that its dataset declares; no dataset is read.

    Raises:
        SuiteError: A setting cannot, as the message describes.
    """
    tried: list[tuple[str, ModelSpec, PruningOptions]] = []
    for setting in {cell.setting.digest: cell.setting for cell in plan.missing}.values():
        network = (setting.dataset, setting.model, setting.pruning)
        if network in tried:
            continue
        tried.append(network)
        data, factory = plan.datasets[setting.dataset], host.models.get(setting.model.name)
        try:
            with blamed_on(host.models.entry(setting.model.name)):
                check_network(factory, setting, data.input_shape, data.num_classes)
        except HandledError as error:
            raise SuiteError(f"{setting.title}: {error}") from error


def changed_files(plan: Plan, host: Host, store: Store) -> Counter[str]:
    """Count, by plugin file of the host, the recorded cells of `plan` that used another version of it.

    The key of a cell does not depend on the content of a plugin file, so these cells are not run again.
    """
    current = {f"{file.distribution} {file.version}": file.given for file in host.files}
    if not current:
        return Counter()
    return Counter(
        current[plugin]
        for cell in plan.recorded
        for kind, plugin in plugins_of(cell, host).items()
        if plugin in current and _recorded(cell, store).get(kind, plugin) != plugin
    )


def _recorded(cell: Cell, store: Store) -> dict[str, str]:
    try:
        return read_record(store.path(cell)).provenance.plugins
    except RecordError:  # reported elsewhere
        return {}
