"""Parameters that can never work are refused when a pruner is named, before any cell is planned."""

from __future__ import annotations

import pytest

from synflow_bench.errors import UsageError
from synflow_bench.execution import resolve_pruners
from synflow_bench.host import Host
from synflow_bench.suites import PrunerSpec, validate

HOST = Host.load()


@pytest.mark.parametrize(
    ("text", "parameter"),
    [
        ("grasp[temperature=0]", "temperature"),
        ("grasp[temperature=-1.5]", "temperature"),
        ("grasp-abs[temperature=0.0]", "temperature"),
        ("grasp[temperature=true]", "temperature"),
        ("grasp[temperature=nan]", "temperature"),
        ("ntk-sap[perturbation=0]", "perturbation"),
        ("ntk-sap[batch=1]", "batch"),
        ("ntk-sap[repeats=-1]", "repeats"),
        ("prospr[inner_lr=-0.1]", "inner_lr"),
        ("snip[mode=training]", "mode"),
        ("grasp[mode=test]", "mode"),
        ("prospr[inner_steps=-1]", "inner_steps"),
        ("prospr[batch=0]", "batch"),
        ("iter-snip[batches=-1]", "batches"),
        ("smart-ratio[linear=1.5]", "linear"),
        ("uniform-plus[last=-0.1]", "last"),
        ("fts[batch=0]", "batch"),
        ("fts[mode=train]", "batch=1"),
        ("fts[temperature=0]", "temperature"),
        ("hts[probes=0]", "probes"),
        ("hts[temperature=nan]", "temperature"),
        ("px[mode=test]", "mode"),
        ("npb[alpha=1.5]", "alpha"),
        ("npb[beta=-1]", "beta"),
        ("npb[per_kernel=-1]", "per_kernel"),
        ("npb[rounds=2]", "rounds"),
        ("sampled[of=erk]", "of=erk"),
        ("sampled[rounds=2]", "rounds"),
        ("synflow[rounds=0]", "rounds"),
        ("synflow[rounds=1.0]", "rounds"),
    ],
)
def test_a_value_that_cannot_work_is_refused(text: str, parameter: str) -> None:
    with pytest.raises(UsageError, match=parameter):
        resolve_pruners([validate(PrunerSpec, text, "pruner")], HOST)
