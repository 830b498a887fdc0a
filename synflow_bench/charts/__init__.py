"""One look for all charts, and one way to write them. Imports no torch, and altair only to draw."""

from synflow_bench.charts._files import CHART_SUFFIXES, chart_bytes, check_chart_path
from synflow_bench.charts._page import script_json, vega_library
from synflow_bench.charts._style import (
    FAINT,
    HEIGHT,
    INK,
    PALETTE,
    RAMP,
    SHAPES,
    SOFT,
    WIDTH,
    titled,
)

__all__ = [
    "CHART_SUFFIXES",
    "FAINT",
    "HEIGHT",
    "INK",
    "PALETTE",
    "RAMP",
    "SHAPES",
    "SOFT",
    "WIDTH",
    "chart_bytes",
    "check_chart_path",
    "script_json",
    "titled",
    "vega_library",
]
