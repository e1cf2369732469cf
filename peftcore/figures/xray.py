"""Pictures of an adapter's updates from plain arrays: a number for each layer and projection, and singular values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from peftcore.figures import lettering, theme, words
from peftcore.figures.words import MINUS

DIGIT = 6.2  # pixels of a digit in a square
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def by_layer(
    values: np.ndarray,
    columns: Sequence[str],
    *,
    title: str,
    what: str,
    note: str = "",
    columns_are: str = "projection",
    reach: float | None = None,
    written: bool = True,
    width: int = 420,
    height: int = 460,
    dark: bool = False,
) -> go.Figure:
    """One number per layer and projection, written in its square; layers from the bottom.

    Args:
        values: (layers, columns), NaN where nothing was trained; a diverging scale where some are negative.
        what: the number in words. columns_are: what a column is, in a word.
        reach: the end of the colour scale; by default the largest value.
        written: False for small squares without their number, and a colour bar.
    """
    rows = len(values)
    signed = bool((values[np.isfinite(values)] < 0).any())
    reach = reach or float(np.nanmax(np.abs(values))) or 1.0
    low = -reach if signed else 0.0
    scale: str | list = [list(stop) for stop in theme.DIVERGING] if signed else theme.SEQUENTIAL
    margin = dict(l=58, r=14 if written else 66, t=66, b=50)
    down = max(18, min(44, (height - margin["t"] - margin["b"]) // rows))
    across = (width - margin["l"] - margin["r"]) // max(1, len(columns))
    across, down = (max(38, min(76, across)), down) if written else (min(max(8, across), down),) * 2
    figure = go.Figure(
        go.Heatmap(
            z=values,
            customdata=[[f"layer {layer + 1}, {words.plain(name)}" for name in columns] for layer in range(rows)],
            hovertemplate=f"<b>%{{customdata}}</b><br>{words.plain(what)} %{{z:.4g}}<extra></extra>",
            colorscale=scale,
            zmin=low,
            zmax=reach,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            showscale=not written,
            colorbar=dict(thickness=12, outlinewidth=0, tickfont=dict(size=11), xpad=6),
        )
    )
    if written:
        layers, places = np.nonzero(np.isfinite(values))
        there = values[layers, places]
        # As many decimals in every square as show three digits of the largest.
        power = int(np.floor(np.log10(np.abs(there).max(initial=0) or 1)))
        said = _written(there, max(0, 2 - power))
        if max(map(len, said), default=0) * DIGIT > across:  # the powers of ten are said once
            said = _written(there / 10.0**power, 2)
            note = f"{note and note + ', '}in 10{str(power).translate(RAISED)}"
        lettering.write(figure, (places, layers), said, (there - low) / (reach - low), size=11, scale=scale)
    bare = dict(showgrid=False, showline=False, ticks="", fixedrange=True, automargin=False)
    figure.update_xaxes(tickvals=list(range(len(columns))), ticktext=[words.plain(name) for name in columns], **bare)
    figure.update_yaxes(
        tickvals=list(range(rows)), ticktext=[str(layer + 1) for layer in range(rows)], title_text="layer", **bare
    )
    size = dict(width=across * len(columns) + margin["l"] + margin["r"], height=down * rows + margin["t"] + margin["b"])
    figure.update_layout(autosize=False, dragmode=False, **size)
    layers, places = np.nonzero(np.isfinite(values))
    place = [columns[int(n)] for n in places]
    columns_of: dict[str, list] = {
        "layer": list(layers + 1),
        columns_are: place,
        words.plain(what): list(values[layers, places]),
    }
    theme.numbered(figure, columns_of)
    return theme.finish(
        figure, title, name="by-layer", note=note, dark=dark, margin=margin, line=max(24, width // 8),
        width=max(width, size["width"]), height=size["height"],
    )  # fmt: skip


def _written(values: np.ndarray, decimals: int) -> list[str]:
    return [f"{value:z.{decimals}f}".replace("-", MINUS) for value in values]


def singular_values(
    spectra: Sequence[np.ndarray],
    layers: Sequence[int],
    *,
    title: str,
    note: str = "",
    height: int = 400,
    dark: bool = False,
) -> go.Figure:
    """Each layer's singular values from the largest, one line a layer, as shares of its largest, on a logarithmic
    scale; early layers are darker.

    Args:
        spectra: values of each layer (k,), where the update is not zero. layers: their numbers, from 0.
    """
    first, last = (0.35, 1.0) if dark else (0.0, 0.7)  # the rest of the scale is lost on the page
    shades = sample_colorscale(theme.SEQUENTIAL, np.linspace(first, last, len(layers)).tolist())
    figure = go.Figure()
    for values, layer, shade in zip(spectra, layers, shades, strict=True):
        figure.add_scatter(
            x=np.arange(1, len(values) + 1),
            y=np.asarray(values) / values[0],
            mode="lines+markers",
            name=f"layer {layer + 1}",
            line=dict(color=shade, width=1.8),
            marker=dict(size=5),
            customdata=np.asarray(values)[:, None],
            hovertemplate=f"layer {layer + 1}, direction %{{x}}: %{{customdata[0]:.4g}}, "
            "%{y:.2f} of the largest<extra></extra>",
            showlegend=False,
        )
    few = max(map(len, spectra)) <= 16
    figure.update_xaxes(title_text="direction, the strongest first", dtick=1 if few else None)
    least = min(
        float(values[-1] / values[0]) for values in spectra
    )  # what rounding leaves of a smaller rank is cut off
    low = min(-1.0, np.floor(np.log10(max(least, 1e-4)) - 1e-9))  # the least of a rank lies above the axis
    ends = {place: max(float(spectra[place][-1] / spectra[place][0]), 10.0**low) for place in (0, len(layers) - 1)}
    # The higher name above, the lower below, where the two ends meet.
    for place, shift in zip(sorted(ends, key=lambda place: -ends[place]), (7, -7), strict=False):
        figure.add_annotation(
            x=len(spectra[place]), y=np.log10(ends[place]), text=f"layer {layers[place] + 1}", showarrow=False,
            xanchor="left", xshift=8, yshift=shift,
        )  # fmt: skip
    figure.update_yaxes(
        title_text="singular value, of the layer's largest", type="log", range=[low, 0.08], dtick=1, tickformat="~g"
    )
    margin = dict(r=76)  # for those names
    return theme.finish(
        figure, title, name="singular-values", note=note, dark=dark, height=height, line=100, margin=margin
    )


EXAMPLES = {
    "by_layer": dict(
        values=np.array([[0.5, np.nan], [1.5, -0.2]]), columns=["q", "v"], title="Layer 2 moved most", what="norm"
    ),
    "singular_values": dict(
        spectra=[np.array([3.0, 1.0, 0.5]), np.array([2.0, 1.5])], layers=[0, 1], title="Two directions"
    ),
}
