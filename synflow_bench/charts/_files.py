"""From an altair chart to the bytes of a file, all without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from synflow_bench.charts._page import chart_page
from synflow_bench.errors import UsageError

_PIXELS = 2.0
"""Of a PNG, for one of the chart's own."""


def chart_bytes(chart: Any, path: Path) -> bytes:
    """The chart in the format that the suffix of `path` stands for: .svg, .png, .pdf or .html."""
    return _WRITERS[check_chart_path(path)](json.dumps(chart.to_dict()))


def check_chart_path(path: Path) -> str:
    """The suffix of `path`; raises `UsageError` for one that no chart can have."""
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"no chart has the suffix of {str(path)!r}; use one of {', '.join(_WRITERS)}")
    return suffix


def _svg(spec: str) -> bytes:
    import vl_convert

    return vl_convert.vegalite_to_svg(spec).encode()


def _png(spec: str) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(spec, scale=_PIXELS))


def _pdf(spec: str) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_pdf(spec))


def _html(spec: str) -> bytes:
    return chart_page(json.loads(spec)).encode()


_WRITERS: dict[str, Callable[[str], bytes]] = {".svg": _svg, ".png": _png, ".pdf": _pdf, ".html": _html}

CHART_SUFFIXES = tuple(_WRITERS)
