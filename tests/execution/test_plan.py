"""What a plan finds: recorded, missing, skipped, unreadable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synflow_bench import __version__
from synflow_bench.errors import PluginError, UnknownNameError, UsageError
from synflow_bench.execution import cells_of, installed_pruners, make_plan, resolve_pruners
from synflow_bench.host import Host
from synflow_bench.records import Failure, Record, Store, key_of
from synflow_bench.suites import Cell, PrunerSpec, Suite

SUITE = Suite.model_validate(
    {
        "name": "small",
        "compressions": [1, 10],
        "seeds": 1,
        "ablations": ["none", "shuffle", "random-labels", "random-inputs"],
        "settings": [{"dataset": "digits", "model": "fc", "recipe": {"epochs": 1}}],
    }
)
SYNFLOW = f"pruner 'synflow' of synflow-bench {__version__}"
NO_PRUNERS = """
    @hookimpl
    def synflow_bench_pruners():
        return {"a/absent": "nowhere_at_all:X", "a/thing": object(), "a/sum": sum}
"""
REVISED = """
    from synflow_bench import Pruner
    class Revised(Pruner):
        revision = 2
        def score(self, problem): ...
    @hookimpl
    def synflow_bench_pruners():
        return {"revised": Revised}
"""


def specs(host: Host, *texts: str) -> list[PrunerSpec]:
    return resolve_pruners([PrunerSpec.model_validate(text) for text in texts], host)


def record_of(cell: Cell, make_record: Callable[..., Record], status: str) -> Record:
    return make_record(status=status).model_copy(update={"cell": cell, "key": key_of(cell)})


def test_pruners_are_resolved_with_all_parameters_and_once_each(host: Host) -> None:
    found = specs(host, "snip", "synflow[rounds=100]", "synflow[rounds=7]", "snip[rounds=1]")
    assert [spec.label for spec in found] == ["snip", "synflow", "synflow[rounds=7]"]
    assert found[1].parameters["rounds"] == 100


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("synflw", "unknown pruner 'synflw'; did you mean 'synflow'?"),
        ("synflow[round=3]", f"parameter of {SYNFLOW}: 'round'; did you mean 'rounds'?"),
        ("synflow[rounds=many]", "parameter rounds='many'"),
        ("synflow[rounds=0]", "rounds"),
        ("dense", "the dense network is always a row; leave out pruner 'dense'"),
    ],
)
def test_a_pruner_that_cannot_be_had_is_a_usage_error(host: Host, text: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        specs(host, text)
    assert message in str(error.value)


def test_an_installed_pruner_that_cannot_be_used_is_reported_and_left_out(distribution: Any) -> None:
    distribution("unusable-pruners", NO_PRUNERS)
    reported: list[str] = []
    found = installed_pruners(host := Host.load(), reported.append)
    assert {spec.name for spec in found} == set(host.pruners.names()) - {"a/absent", "a/thing", "a/sum"}
    assert len(reported) == 3
    assert all(
        name in line and "it is left out" in line
        for name, line in zip(["a/absent", "a/sum", "a/thing"], reported, strict=True)
    )


@pytest.mark.parametrize("name", ["a/absent", "a/thing", "a/sum"])
def test_asked_for_by_name_it_is_an_error(distribution: Any, name: str) -> None:
    distribution("unusable-pruners", NO_PRUNERS)
    with pytest.raises(PluginError, match=f"{name}.* of unusable-pruners"):
        specs(Host.load(), name)


def test_data_are_ablated_only_where_a_pruner_sees_them(host: Host) -> None:
    rows = [cell.row for cell in cells_of(SUITE, specs(host, "synflow", "snip"), host)]
    assert rows == [
        *("dense", "synflow", "snip", "synflow (shuffle)", "snip (shuffle)"),
        *("snip (random-labels)", "snip (random-inputs)"),
    ]


def test_revisions_are_those_of_the_plugins(distribution: Any) -> None:
    distribution("revised-pruner", REVISED)
    host = Host.load()
    dense, revised, *_ = cells_of(SUITE, specs(host, "revised"), host)
    assert (dense.revisions.pruner, revised.revisions.pruner) == (1, 2)


@pytest.mark.parametrize(("field", "name"), [("dataset", "digts"), ("model", "lottery/vgg")])
def test_a_suite_that_names_what_nobody_has_registered_is_an_error(host: Host, field: str, name: str) -> None:
    data = SUITE.model_dump(mode="json", exclude_unset=True)
    data["settings"][0][field] = name
    with pytest.raises(UnknownNameError, match=f"unknown {field} {name!r}; did you mean"):
        cells_of(Suite.model_validate(data), specs(host, "snip"), host)


@pytest.mark.parametrize(
    ("options", "ok", "failed", "missing"),
    [
        ({}, 1, 0, 2),
        ({"retry_failed": False}, 1, 1, 1),
        ({"force": True}, 0, 0, 3),
    ],
)
def test_what_is_recorded_needs_no_work(
    host: Host,
    store: Store,
    tmp_path: Path,
    make_cell: Callable[..., Cell],
    make_record: Callable[..., Record],
    options: dict[str, bool],
    ok: int,
    failed: int,
    missing: int,
) -> None:
    cells = [make_cell(seed=seed) for seed in range(3)]
    store.put(record_of(cells[0], make_record, "ok"))
    store.put(record_of(cells[1], make_record, "failed"))
    plan = make_plan(cells, host, store, tmp_path, **options)
    assert [len(part) for part in (plan.recorded, plan.failed, plan.missing)] == [ok, failed, missing]
    assert plan.recorded == cells[:ok]


@pytest.mark.parametrize(("kind", "recorded"), [("NotDefinedError", 1), ("DataMissingError", 0)])
def test_a_cell_whose_method_is_not_defined_is_not_tried_again(
    host: Host,
    store: Store,
    tmp_path: Path,
    make_cell: Callable[..., Cell],
    make_record: Callable[..., Record],
    kind: str,
    recorded: int,
) -> None:
    cell, failure = make_cell(), Failure(kind=kind, message="none")
    store.put(record_of(cell, make_record, "skipped").model_copy(update={"error": failure}))
    plan = make_plan([cell], host, store, tmp_path)
    assert [len(plan.recorded), len(plan.missing)] == [recorded, 1 - recorded]


def test_a_missing_dataset_is_skipped_with_the_command_that_fetches_it(
    host: Host,
    store: Store,
    tmp_path: Path,
    make_cell: Callable[..., Cell],
    make_record: Callable[..., Record],
) -> None:
    here, away, done = make_cell(), make_cell(dataset="mnist"), make_cell(dataset="mnist", seed=1)
    store.put(record_of(done, make_record, "ok"))
    plan = make_plan([here, away, done], host, store, tmp_path)
    assert (plan.missing, plan.skipped, plan.recorded) == ([here], [away], [done])
    assert plan.unavailable.keys() == {"mnist"}
    assert plan.unavailable["mnist"].startswith(
        f"dataset 'mnist' is not in {str(tmp_path)!r}; "
        f"`synflow-bench data download mnist --data {tmp_path}` fetches it; published files go into "
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        lambda text: text.replace('"status": "ok"', '"status": "fine"'),
        lambda text: text.replace('"key": "', '"key": "0'),
        lambda text: "\x00\xff",
    ],
)
def test_an_unreadable_record_is_missing_and_stays_until_the_run(
    host: Host,
    store: Store,
    tmp_path: Path,
    make_cell: Callable[..., Cell],
    make_record: Callable[..., Record],
    damage: Callable[[str], str],
) -> None:
    cell = make_cell()
    path = store.put(record_of(cell, make_record, "ok"))
    path.write_text(damage(path.read_text()), encoding="latin-1")
    before = path.read_bytes()
    plan = make_plan([cell], host, store, tmp_path)
    assert plan.missing == [cell]
    assert list(plan.unreadable) == [path]
    assert str(path) in plan.unreadable[path]
    assert path.read_bytes() == before
