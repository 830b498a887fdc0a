"""Which cells a run has, and which of them are still to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from synflow_bench.data import Dataset, download_command
from synflow_bench.errors import RecordError
from synflow_bench.execution._pruners import kind_of
from synflow_bench.host import Host
from synflow_bench.protocols import check_rewind
from synflow_bench.records import Store, file_name, read_status
from synflow_bench.suites import Cell, Multishot, PrunerSpec, Revisions, Setting, Suite, expand

_OF_DATA = ("random-labels", "random-inputs")


@dataclass(frozen=True)
class Plan:
    """The cells of a run, each in one of four lists.

    `recorded` need no work, `failed` have a failed record that is kept, `missing` are to be run, `skipped`
    cannot be: their data set is not there, for the reason in `unavailable`. `unreadable` has the files that
    should be records of missing cells and are none, and why.
    """

    cells: list[Cell]
    recorded: list[Cell] = field(default_factory=list)
    failed: list[Cell] = field(default_factory=list)
    missing: list[Cell] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)


def cells_of(suite: Suite, pruners: list[PrunerSpec], host: Host) -> list[Cell]:
    """All cells of `suite` for resolved `pruners`; ablations of the data only where a pruner sees data.

    Raises `SuiteError` where weights are to be rewound to a step that the training does not have.
    """
    for setting in suite.settings:
        if isinstance(setting.protocol, Multishot):
            check_rewind(setting, images=host.datasets.get(setting.dataset).sizes[0])

    def revisions(setting: Setting, pruner: PrunerSpec | None) -> Revisions:
        return Revisions(
            pruner=kind_of(pruner.name, host).revision if pruner else 1,
            model=getattr(host.models.get(setting.model.name), "revision", 1),
            dataset=host.datasets.get(setting.dataset).revision,
        )

    looks_at_data = {spec.name: kind_of(spec.name, host).needs_data for spec in pruners}
    cells = expand(suite, pruners, revisions)
    return [cell for cell in cells if cell.ablation not in _OF_DATA or looks_at_data[cell.pruner.name]]


def make_plan(
    cells: list[Cell],
    host: Host,
    store: Store,
    data_root: Path,
    *,
    force: bool = False,
    retry_failed: bool = True,
) -> Plan:
    """Compare `cells` with what is recorded and with the data at hand; changes nothing.

    With `force` everything is run again. A failed cell is run again unless `retry_failed` is false.
    """
    plan = Plan(cells, unavailable=_unavailable(cells, host, data_root))
    to_run = {True: plan.skipped, False: plan.missing}
    by_status = {"ok": plan.recorded} if retry_failed else {"ok": plan.recorded, "failed": plan.failed}
    files = _Files(store)
    for cell in cells:
        path = None if force else files.of(cell)
        status = _status(path, plan.unreadable) if path else None
        missing = to_run[cell.setting.dataset in plan.unavailable]
        by_status.get(status or "", missing).append(cell)
    return plan


class _Files:
    """The files of a store, each folder listed once: a plan asks for a hundred thousand."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._listed: dict[tuple[str, str, str], tuple[Path, frozenset[str]]] = {}

    def of(self, cell: Cell) -> Path | None:
        """The file of the cell's record, or None where there is none."""
        place = cell.setting.dataset, cell.setting.model.name, cell.pruner.name
        if place not in self._listed:
            self._listed[place] = _listed(self._store.folder(cell))
        folder, names = self._listed[place]
        if names and (name := file_name(cell)) in names:
            return folder / name
        return None


def _listed(folder: Path) -> tuple[Path, frozenset[str]]:
    try:
        return folder, frozenset(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return folder, frozenset()


def _status(path: Path, unreadable: dict[Path, str]) -> str | None:
    try:
        return read_status(path)
    except RecordError as error:
        unreadable[path] = str(error)
        return None


def _unavailable(cells: Iterable[Cell], host: Host, data_root: Path) -> dict[str, str]:
    names = dict.fromkeys(cell.setting.dataset for cell in cells)
    datasets = {name: host.datasets.get(name)() for name in names}
    where = str(data_root)
    return {
        name: f"data set {name!r} is not in {where!r}; {_remedy(name, dataset, data_root)}"
        for name, dataset in datasets.items()
        if not dataset.present(data_root)
    }


def _remedy(name: str, dataset: Dataset, data_root: Path) -> str:
    return dataset.by_hand(data_root) or f"`{download_command(data_root, name)}` fetches it"
