"""Export of masked networks: physically smaller where units are dead, compared with the whole network."""

from synflow_bench.exporting.formats import (
    FORMATS,
    ExportError,
    Format,
    check_format,
    check_opset,
    onnx_run,
)
from synflow_bench.exporting.latency import Latency, measure_latencies, one_thread
from synflow_bench.exporting.networks import BATCHES, Exported, export, stand_in
from synflow_bench.exporting.state_dict import load_compact

__all__ = [
    "BATCHES",
    "FORMATS",
    "ExportError",
    "Exported",
    "Format",
    "Latency",
    "check_format",
    "check_opset",
    "export",
    "load_compact",
    "measure_latencies",
    "one_thread",
    "onnx_run",
    "stand_in",
]
