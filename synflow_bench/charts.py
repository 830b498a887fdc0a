"""The style of all charts, and their file formats. Imports no torch, and altair only to draw."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from synflow_bench.errors import UsageError

INK, SOFT, FAINT = "#1d2329", "#59636e", "#e3e7eb"

PALETTE = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#5b4b8a", "#7f7f7f"),
    *("#b2182b", "#8c510a", "#66a61e", "#a45bd6", "#9c8f2e", "#1b9e9e", "#e0569b", "#44607f"),
)
"""Okabe & Ito's colors, distinguishable with every common color vision, without the yellow that fades on
white, and with a darker violet and a gray; then eight more for boards of many rows."""

SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "cross",
    "triangle-down",
    "triangle-right",
    "triangle-left",
)
"""Shapes of points: a color is never the only difference."""

_DASHES = ((1, 0), (6, 3), (2, 2), (8, 2, 2, 2))

RAMP: Literal["viridis"] = "viridis"
"""The color scheme for ordered values: compressions, epochs."""

WIDTH, HEIGHT = 260, 220
"""Pixels of one panel."""

_FONT = "DejaVu Sans, Verdana, sans-serif"
_PIXELS = 2.0
"""Pixels of a PNG per pixel of the chart."""
_SALT = b"synflow-bench 288697"
"""Key of the hash that gives a name its shape and dashes, and its color if it is not well known."""
_COLORS = {
    name: color
    for color, names in enumerate(
        (
            ("synflow", "synflow-l2"),
            ("random", "balanced"),
            ("rigl",),
            ("grasp", "grasp-abs"),
            ("snip", "iter-snip"),
            ("magnitude", "lamp"),
            ("sampled",),
            ("uniform", "uniform-plus"),
            ("set", "hts"),
            ("phew", "force"),
            ("gmp",),
            ("px", "smart-ratio"),
            ("ntk-sap", "igq"),
            ("npb",),
            ("edge-popup", "fts"),
            ("erk", "prospr"),
        )
    )
    for name in names
}
"""Well-known method -> its place in `PALETTE`: boards of many rows hardly repeat a color."""


@dataclass(frozen=True)
class MarkStyle:
    """The style of one curve.

    Attributes:
        color: A color in hex.
        shape: The name of a shape of points.
        dash: Lengths of dashes and gaps in pixels.
    """

    color: str
    shape: str
    dash: tuple[int, ...]


def mark_styles(names: Iterable[str] | Mapping[str, str]) -> dict[str, MarkStyle]:
    """Return the style of each name.

    The color depends on the name alone, so that a pruner has the same color in every chart. So does the
    shape, unless two names of one color would have the same: then the later one in alphabetical order takes
    the next shape.

    Args:
        names: The names; or each name with the one that gives it its color, such as the pruner of a row.

    Example:
        >>> mark_styles(["snip"])["snip"] == mark_styles(["grasp", "snip", "synflow"])["snip"]
        True
    """
    found: dict[str, MarkStyle] = {}
    taken: set[tuple[int, int]] = set()
    colored = names if isinstance(names, Mapping) else {name: name for name in names}
    for name in sorted(colored):
        color = _COLORS.get(colored[name], _hashed(colored[name]) % len(PALETTE))
        number, first = divmod(_hashed(name) // len(PALETTE), len(SHAPES))
        shapes = ((first + step) % len(SHAPES) for step in range(len(SHAPES)))
        shape = next((each for each in shapes if (color, each) not in taken), first)
        taken.add((color, shape))
        found[name] = MarkStyle(PALETTE[color], SHAPES[shape], _DASHES[number % len(_DASHES)])
    return found


def _hashed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8, key=_SALT).digest(), "big")


def titled(chart: Any, title: str, lines: Sequence[str] = ()) -> Any:
    """Return an altair chart in the common style, with a title and `lines` of smaller type below it."""
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


def chart_bytes(chart: Any, path: Path) -> bytes:
    """Return the chart in the format that the suffix of `path` stands for, without using a network.

    Args:
        chart: An altair chart.
        path: A path that ends in .svg, .png, .pdf or .html.

    Raises:
        UsageError: No chart has that suffix.
    """
    return _WRITERS[check_chart_path(path)](chart.to_dict())


def check_chart_path(path: Path) -> str:
    """Return the suffix of `path`.

    Raises:
        UsageError: No chart has that suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in _WRITERS:
        raise UsageError(f"no chart has the suffix of {str(path)!r}; use one of {', '.join(_WRITERS)}")
    return suffix


def _svg(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    return vl_convert.vegalite_to_svg(json.dumps(spec)).encode()


def _png(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(json.dumps(spec), scale=_PIXELS))


def _pdf(spec: Mapping[str, Any]) -> bytes:
    import vl_convert

    return bytes(vl_convert.vegalite_to_pdf(json.dumps(spec)))


def _html(spec: Mapping[str, Any]) -> bytes:
    page = _PAGE.format(spec=script_json(spec), library=vega_library(), options=json.dumps(_OPTIONS))
    return page.encode()


_WRITERS: dict[str, Callable[[Mapping[str, Any]], bytes]] = {
    ".svg": _svg,
    ".png": _png,
    ".pdf": _pdf,
    ".html": _html,
}

CHART_SUFFIXES = tuple(_WRITERS)

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Chart</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 0; background: white; }} #chart.vega-embed {{ width: 100%; display: flex; }}</style>
</head>
<body>
<div id="chart"></div>
<script type="application/json" id="spec">{spec}</script>
<script>{library}</script>
<script>
const spec = JSON.parse(document.getElementById("spec").textContent);
vegaEmbed("#chart", spec, {options}).catch(console.error);
</script>
</body>
</html>
"""
_OPTIONS = {
    "renderer": "svg",
    # Vega writes the source unescaped into a new window, and its editor is on the network.
    "actions": {"export": True, "source": False, "compiled": False, "editor": False},
}
_LIBRARY = "(() => {{\n{}\n}})();\n"
"""Wraps the bundle in a function, so that its names do not become global."""


def script_json(value: Any) -> str:
    """Return JSON for a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def vega_library() -> str:
    """Return Vega, Vega-Lite and `window.vegaEmbed` as one script, in the version that altair targets."""
    import altair
    import vl_convert

    version = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return _LIBRARY.format(bundle)
