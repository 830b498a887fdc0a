"""A chart as a page of its own: Vega in one script, the chart as JSON that nothing can break out of."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

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
"""Names of the bundle stay its own."""


def chart_page(spec: dict[str, Any]) -> str:
    """A page that draws a Vega-Lite `spec` offline; no text in it becomes markup."""
    return _PAGE.format(spec=script_json(spec), library=vega_library(), options=json.dumps(_OPTIONS))


def script_json(value: Any) -> str:
    """JSON that may stand in a script element: nothing in it can close one, or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


@cache
def vega_library() -> str:
    """Vega, Vega-Lite and `window.vegaEmbed` in one script, of the version that altair writes for."""
    import altair
    import vl_convert

    version = altair.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    return _LIBRARY.format(bundle)
