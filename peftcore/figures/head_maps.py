"""Where every head looks, at once: a small map for each, laid out as head grids are."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme
from peftcore.figures.squares import GAP, SIDES, cell_side, cells, lay_square, outline

MARGINS = SIDES | dict(r=12)


def head_maps(
    maps: np.ndarray,
    *,
    selected: tuple[int, int] | None = None,
    title: str = "",
    width: int = 480,
    height: int = 900,
    dark: bool = False,
) -> go.Figure:
    """A map for each head, brightest where it looks most; layers from the bottom, as in the grid of scores.

    Args:
        maps: (layers, heads, rows, columns), what each patch gets of one query's attention.
        selected: (layer, head), both from 0, outlined.
        title: replaces the finding.
        width, height: the most pixels the figure may take; it is drawn at the size its square cells need.

    A click's `customdata` is [layer, head, ...], both from 0.

    Raises:
        BadData: not of this shape, or a head that looks at nothing.
    """
    maps = np.asarray(maps, float)
    if maps.ndim != 4 or not (maps.sum((2, 3)) > 0).all():
        raise BadData(f"Maps of all heads need shape (layers, heads, rows, columns) and weights; got {maps.shape}.")
    layers, heads, rows, columns = maps.shape
    cell, looked = cell_side(layers, heads, width, height, MARGINS), patches(maps)
    bright = np.rint(255 * maps / maps.max((2, 3), keepdims=True)).astype(np.uint8)
    picture = bright[:, :, ::-1].transpose(0, 2, 1, 3).reshape(layers * rows, heads * columns)  # from the bottom up
    figure = go.Figure(
        go.Heatmap(
            z=picture, x0=-0.5 + 0.5 / columns, dx=1 / columns, y0=-0.5 + 0.5 / rows, dy=1 / rows,
            colorscale=theme.SEQUENTIAL, zmin=0, zmax=255, showscale=False, hoverinfo="skip",
        )
    )  # fmt: skip
    where = np.argwhere(np.ones((layers, heads), bool))
    figure.add_scatter(
        x=where[:, 1], y=where[:, 0], mode="markers", showlegend=False, name="heads",
        customdata=[[int(layer), int(head), f"{looked[layer, head]:.0f}"] for layer, head in where],
        marker=dict(symbol="square", size=cell - GAP, color="rgba(0,0,0,0)", opacity=1, line=dict(width=0)),
        text=[f"layer {layer + 1}, head {head + 1}" for layer, head in where],
        hovertemplate="<b>%{text}</b><br>looks at about %{customdata[2]} of "
        f"{rows * columns} patches<extra></extra>",
    )  # fmt: skip
    gap = dict(color=theme.page(dark), width=GAP)
    for at in range(1, heads):
        figure.add_vline(x=at - 0.5, line=gap)
    for at in range(1, layers):
        figure.add_hline(y=at - 0.5, line=gap)
    if selected is not None:
        outline(figure, *selected)
    lay_square(figure, layers, heads, cell, MARGINS)
    theme.numbered(figure, cells(looked.round(1), "patches"))
    return theme.finish(
        figure, title or finding(maps), name="head-maps", dark=dark, margin=MARGINS, width=figure.layout.width,
        height=figure.layout.height, line=max(24, int(figure.layout.width / 8)),
    )  # fmt: skip


def patches(maps: np.ndarray) -> np.ndarray:
    """(layers, heads, rows, columns) -> (layers, heads): how many patches a head looks at, the exponential of its
    attention's entropy over them; all of them where it looks evenly, 1 where it looks at one."""
    shares = maps / maps.sum((2, 3), keepdims=True)
    return np.exp(-(shares * np.log(np.where(shares > 0, shares, 1))).sum((2, 3)))


def finding(maps: np.ndarray) -> str:
    """Which head is the most selective."""
    looked = patches(maps)
    layer, head = np.unravel_index(int(looked.argmin()), looked.shape)
    about, of = f"{looked[layer, head]:.0f}", maps.shape[2] * maps.shape[3]
    return f"Head {head + 1} of layer {layer + 1} looks at the fewest patches, about {about} of {of}"


EXAMPLES = {"head_maps": dict(maps=np.random.default_rng(0).uniform(0.1, 1, (3, 2, 4, 4)), selected=(1, 0))}
