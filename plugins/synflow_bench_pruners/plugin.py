"""Registers the pruners; imports none of them."""

from __future__ import annotations

from synflow_bench.host import hookimpl


@hookimpl
def synflow_bench_pruners() -> dict[str, str]:
    """Names and where their classes are."""
    return {
        "random": "synflow_bench_pruners.random:Random",
        "magnitude": "synflow_bench_pruners.magnitude:Magnitude",
        "snip": "synflow_bench_pruners.snip:Snip",
        "grasp": "synflow_bench_pruners.grasp:Grasp",
        "synflow": "synflow_bench_pruners.synflow:SynFlow",
        "synflow-l2": "synflow_bench_pruners.synflow_l2:SynFlowL2",
        "grasp-abs": "synflow_bench_pruners.grasp_abs:GraspAbs",
        "iter-snip": "synflow_bench_pruners.iter_snip:IterSnip",
        "force": "synflow_bench_pruners.force:Force",
        "uniform": "synflow_bench_pruners.uniform:Uniform",
        "uniform-plus": "synflow_bench_pruners.uniform_plus:UniformPlus",
        "erk": "synflow_bench_pruners.erk:Erk",
        "igq": "synflow_bench_pruners.igq:Igq",
        "balanced": "synflow_bench_pruners.balanced:Balanced",
        "smart-ratio": "synflow_bench_pruners.smart_ratio:SmartRatio",
        "lamp": "synflow_bench_pruners.lamp:Lamp",
        "prospr": "synflow_bench_pruners.prospr:ProsPr",
        "ntk-sap": "synflow_bench_pruners.ntk_sap:NtkSap",
        "phew": "synflow_bench_pruners.phew:Phew",
    }
