"""Settings that can never work, found before a cell is run."""

from __future__ import annotations

from synflow_bench.errors import HandledError, SuiteError
from synflow_bench.execution._plan import Plan
from synflow_bench.host import Host
from synflow_bench.protocols import check_network
from synflow_bench.suites import ModelSpec, PruningOptions, Setting


def check_settings(plan: Plan, host: Host) -> None:
    """Raise `SuiteError` for a setting of missing cells that cannot have its network, or prune it.

    Every network is tried once, by what its data set declares; nothing is read.
    """
    tried: list[tuple[str, ModelSpec, PruningOptions]] = []
    for setting in {cell.setting.digest: cell.setting for cell in plan.missing}.values():
        network = (setting.dataset, setting.model, setting.pruning)
        if network not in tried:
            tried.append(network)
            _check(setting, host)


def _check(setting: Setting, host: Host) -> None:
    data = host.datasets.get(setting.dataset)
    factory = host.models.get(setting.model.name)
    try:
        check_network(factory, setting, data.input_shape, data.num_classes)
    except HandledError as error:
        raise SuiteError(f"{setting.title}: {error}") from error
