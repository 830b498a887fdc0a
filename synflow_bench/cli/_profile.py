"""Which cells `profile` runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from synflow_bench.errors import DataMissingError, HandledError
from synflow_bench.execution import cells_of, make_plan, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.names import DENSE
from synflow_bench.profiling import Profile, Task, profile_cells
from synflow_bench.records import Store
from synflow_bench.suites import ModelSpec, PrunerSpec, Recipe, Setting, Suite, validate
from synflow_bench.training import resolve_devices


@dataclass(frozen=True)
class Request:
    """What was asked for; `epochs` of None are those of the recipe."""

    dataset: str
    model: str
    pruner: str
    compression: float
    epochs: int | None
    cells: int
    device: str
    threads: int
    data: Path


def run_profile(request: Request, host: Host) -> Profile:
    """Profile as many cells as asked for, which differ in their seeds."""
    device = str(resolve_devices(request.device)[0])
    wanted = _suite(request, host)
    dense = request.pruner == DENSE
    pruners = [] if dense else resolve_pruners([validate(PrunerSpec, request.pruner, "pruner")], host)
    cells = [cell for cell in cells_of(wanted, pruners, host) if cell.is_dense == dense]
    plan = make_plan(cells, host, Store(Path("no such folder")), request.data)
    for reason in plan.unavailable.values():
        raise DataMissingError(reason)
    return profile_cells(Task(cells, request.data, device, request.threads, host.files))


def _suite(request: Request, host: Host) -> Suite:
    setting = _setting(request, host)
    if request.epochs is not None:
        data = setting.model_dump()
        data["recipe"]["epochs"] = request.epochs
        setting = validate(Setting, data, "setting")
    compressions = (max(request.compression, 1),)
    return Suite(
        name="profile", compressions=compressions, seeds=tuple(range(request.cells)), settings=(setting,)
    )


def _setting(request: Request, host: Host) -> Setting:
    """That of the first installed suite with this data set and network."""
    for name in host.suites.names():
        try:
            settings = host.suites.get(name).settings
        except HandledError:  # a broken suite of someone's is no matter here
            continue
        for setting in settings:
            if (setting.dataset, setting.model.name) == (request.dataset, request.model):
                return setting
    recipe = Recipe(epochs=1, optimizer="adam", lr=1e-3)
    return Setting(dataset=request.dataset, model=ModelSpec(name=request.model), recipe=recipe)
