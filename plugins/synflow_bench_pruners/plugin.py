"""Register the pruners without an import of their modules."""

from __future__ import annotations

from synflow_bench.host import hookimpl


@hookimpl
def synflow_bench_pruners() -> dict[str, str]:
    """Return the names of the pruners and the places of their classes."""
    return {
        "random": "synflow_bench_pruners.random:Random",
        "magnitude": "synflow_bench_pruners.magnitude:Magnitude",
        "snip": "synflow_bench_pruners.snip:Snip",
        "grasp": "synflow_bench_pruners.grasp:Grasp",
        "synflow": "synflow_bench_pruners.synflow:SynFlow",
        "synflow-l2": "synflow_bench_pruners.synflow:SynFlowL2",
        "grasp-abs": "synflow_bench_pruners.grasp:GraspAbs",
        "iter-snip": "synflow_bench_pruners.iter_snip:IterSnip",
        "force": "synflow_bench_pruners.iter_snip:Force",
        "uniform": "synflow_bench_pruners.layer_densities:Uniform",
        "uniform-plus": "synflow_bench_pruners.layer_densities:UniformPlus",
        "erk": "synflow_bench_pruners.layer_densities:Erk",
        "igq": "synflow_bench_pruners.layer_densities:Igq",
        "balanced": "synflow_bench_pruners.layer_densities:Balanced",
        "smart-ratio": "synflow_bench_pruners.smart_ratio:SmartRatio",
        "lamp": "synflow_bench_pruners.lamp:Lamp",
        "prospr": "synflow_bench_pruners.prospr:ProsPr",
        "ntk-sap": "synflow_bench_pruners.ntk_sap:NtkSap",
        "phew": "synflow_bench_pruners.phew:Phew",
        "px": "synflow_bench_pruners.px:Px",
        "fts": "synflow_bench_pruners.taylor:Fts",
        "hts": "synflow_bench_pruners.taylor:Hts",
        "npb": "synflow_bench_pruners.npb:Npb",
        "sampled": "synflow_bench_pruners.sampled:Sampled",
        "gmp": "synflow_bench_pruners.gmp:Gmp",
        "set": "synflow_bench_pruners.sparse_training:Set",
        "rigl": "synflow_bench_pruners.sparse_training:Rigl",
        "edge-popup": "synflow_bench_pruners.edge_popup:EdgePopup",
    }
