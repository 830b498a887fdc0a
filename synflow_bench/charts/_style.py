"""Colours, shapes and type: the same in every chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

INK, SOFT, FAINT = "#1d2329", "#59636e", "#e3e7eb"

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b4b8a", "#7f7f7f")
"""Okabe & Ito's colours, told apart with every common colour vision, without the yellow that fades on
white; of a darker violet and a grey besides."""

SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "stroke")
"""In the order of `PALETTE`: a colour never stands alone."""

RAMP: Literal["viridis"] = "viridis"
"""For what has an order: compressions, epochs."""

WIDTH, HEIGHT = 260, 220
"""Pixels of one panel."""

_FONT = "DejaVu Sans, Verdana, sans-serif"


def titled(chart: Any, title: str, lines: Sequence[str] = ()) -> Any:
    """An altair chart with a title, `lines` of smaller type below it, and the style of all charts."""
    heading: dict[str, Any] = {"text": title}
    if lines:
        heading["subtitle"] = list(lines)
    return chart.properties(title=heading).configure(**_configuration())


def _configuration() -> dict[str, Any]:
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "titleFontSize": 12}
    heading = {"color": INK, "subtitleColor": SOFT, "fontSize": 15, "subtitleFontSize": 11}
    return {
        "background": "white",
        "font": _FONT,
        "padding": 12,
        "view": {"stroke": None},
        "axis": {
            **text,
            "gridColor": FAINT,
            "domainColor": SOFT,
            "tickColor": SOFT,
            "titleFontWeight": "normal",
        },
        "legend": {**text, "titleFontWeight": "normal", "labelLimit": 260, "symbolSize": 70},
        "header": {**text, "labelFontSize": 12, "titleFontWeight": "normal"},
        "title": {**heading, "anchor": "start", "offset": 14, "subtitlePadding": 4},
        "range": {"category": list(PALETTE), "symbol": list(SHAPES)},
        "line": {"strokeWidth": 1.8},
        "point": {"size": 45, "filled": True},
    }
