"""Charts that many pages draw, each page from its own values."""

from __future__ import annotations

from typing import Any

from synflow_bench.charts import PALETTE, RAMP, titled


def shared_charts() -> dict[str, Any]:
    """Name -> Vega-Lite, without values."""
    charts = {"layers": _layers(), "accuracies": _curve("top-1 (%)"), "losses": _curve("loss")}
    return {name: titled(chart, "").to_dict() for name, chart in charts.items()}


def _layers() -> Any:
    """Density by layer, a colour a compression: kept weights solid, those on a path dashed."""
    import altair as alt

    picked = alt.selection_point(name="picked", fields=["compression"], bind="legend", toggle="true")
    order = alt.SortField("place")
    x = alt.X("layer:N", sort=order, title=None, axis=alt.Axis(labelAngle=-40, labelLimit=110, grid=False))
    y = alt.Y("density:Q", title="density (%)", scale=alt.Scale(type="log", nice=False, domainMax=100))
    y = y.axis(values=[10.0**power for power in range(2, -8, -1)], format="~g")
    colours = alt.Scale(scheme=alt.SchemeParams(name=RAMP, extent=[0.15, 0.88]))
    # Sorted as the values are: as text, 100 would come before 2.
    colour = alt.Color("compression:O", sort=None, scale=colours, legend=alt.Legend(symbolType="stroke"))
    dash = alt.StrokeDash(
        "kind:N",
        title=None,
        legend=alt.Legend(symbolType="stroke"),
        scale=alt.Scale(domain=["kept", "effective"], range=[[1, 0], [4, 3]]),
    )
    near = alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.08))
    tips = [
        alt.Tooltip("layer:N"),
        alt.Tooltip("compression:N"),
        alt.Tooltip("kind:N"),
        alt.Tooltip("text:N", title="density"),
    ]
    line = alt.Chart(alt.NamedData("values")).mark_line(point=alt.OverlayMarkDef(size=30))
    line = line.encode(x, y, colour, dash, opacity=near, tooltip=tips)
    return line.add_params(picked).properties(width="container", height=300)


def _curve(title: str) -> Any:
    import altair as alt

    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolSize=300)
    colour = alt.Color("series:N", sort=None, legend=legend, scale=alt.Scale(range=list(PALETTE[:2])))
    dash = alt.StrokeDash("series:N", sort=None, legend=legend)
    y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
    x = alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, grid=False, format="d"))
    tips = [alt.Tooltip("series:N"), alt.Tooltip("epoch:Q"), alt.Tooltip("value:Q", format=".4~g")]
    line = alt.Chart(alt.NamedData("values")).mark_line(point=alt.OverlayMarkDef(size=25))
    return line.encode(x, y, colour, dash, tooltip=tips).properties(width="container", height=220)
