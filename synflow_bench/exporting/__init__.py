"""Export of masked networks: physically smaller where units are dead, compared with the whole network."""

from synflow_bench.exporting.formats import FORMATS, ExportError, Format, check_format, onnx_run
from synflow_bench.exporting.latency import Latency, measure_latencies
from synflow_bench.exporting.networks import BATCHES, Exported, export

__all__ = [
    "BATCHES",
    "FORMATS",
    "ExportError",
    "Exported",
    "Format",
    "Latency",
    "check_format",
    "export",
    "measure_latencies",
    "onnx_run",
]
