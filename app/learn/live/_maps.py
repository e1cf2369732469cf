"""Several maps over one image, side by side: what a figure of a lesson shows of every head, or after every layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftcore.figures import theme
from peftcore.figures.overlay import heat_colours, picture_layer
from peftcore.figures.words import plain

GAP, UNDER = 8, 22  # pixels between maps, and for the name under each
SIDES = dict(l=4, r=4, b=4)
STRENGTH = 0.88  # how much of the picture the brightest colour covers


def maps(
    pixels: np.ndarray,
    grids: np.ndarray,
    names: Sequence[str],
    *,
    title: str,
    note: str,
    words: str,
    high: float | Sequence[float],
    low: float = 0.0,
    marked: tuple[int, int] | None = None,
    columns: int = 4,
    width: int = 640,
    name: str = "maps",
    dark: bool = False,
) -> go.Figure:
    """One map for each of `grids` (n, rows, columns) over `pixels` (H, W, 3); a click's `customdata` is [row, column].

    `words`: what a patch's number is called, with the number for `{}`. `low`, `high`: of the darkest and brightest
    colour. `marked`: the patch that asks.
    """
    count, rows, across = grids.shape
    columns = min(columns, count)
    down = -(-count // columns)
    cell = (width - SIDES["l"] - SIDES["r"] - GAP * (columns - 1)) // columns
    plot = (cell * columns + GAP * (columns - 1), (cell + UNDER) * down)
    figure = make_subplots(
        down, columns, horizontal_spacing=GAP / plot[0], vertical_spacing=UNDER / plot[1] if down > 1 else 0
    )
    address, _ = picture_layer(pixels, shortest=160)
    colours, highs = heat_colours(STRENGTH), np.broadcast_to(high, (count,))
    for index, grid in enumerate(grids):
        where = dict(row=index // columns + 1, col=index % columns + 1)
        figure.add_layout_image(
            source=address, x=0, y=0, sizex=1, sizey=1, sizing="stretch", layer="below", xref="x", yref="y", **where
        )
        figure.add_heatmap(
            z=grid, x0=0.5 / across, dx=1 / across, y0=0.5 / rows, dy=1 / rows, zmin=low, zmax=float(highs[index]),
            colorscale=colours, showscale=False, customdata=np.moveaxis(np.indices(grid.shape), 0, -1).tolist(),
            text=[[f"row {r + 1}, column {c + 1}: {words.format(value)}" for c, value in enumerate(line)]
                  for r, line in enumerate(grid)],
            hovertemplate=f"{plain(names[index])}<br>%{{text}}<extra></extra>", **where,
        )  # fmt: skip
        if marked is not None:
            box = dict(type="rect", x0=marked[1] / across, x1=(marked[1] + 1) / across, y0=marked[0] / rows,
                       y1=(marked[0] + 1) / rows, fillcolor="rgba(0,0,0,0)")  # fmt: skip
            figure.add_shape(**box, line=dict(color="#FFFFFF", width=4), **where)
            figure.add_shape(**box, line=dict(color="#D55E00", width=2), **where)
        figure.update_xaxes(title_text=plain(names[index]), **where)
    bare = dict(showticklabels=False, ticks="", showgrid=False, showline=False, fixedrange=True, automargin=False)
    figure.update_xaxes(**bare, title_standoff=0, title_font_size=11.5, range=[0, 1])
    figure.update_yaxes(**bare, range=[1, 0])
    at = np.indices(grids.shape).reshape(3, -1)
    theme.numbered(
        figure,
        {
            "map": [names[number] for number in at[0]],
            "row": (at[1] + 1).tolist(),
            "column": (at[2] + 1).tolist(),
            "value": np.round(grids, 5).ravel().tolist(),
        },
    )
    line = max(24, int(width / 7.6))
    top = theme.title_height(title, line, note)
    figure.update_layout(autosize=False, dragmode=False, hovermode="closest")
    return theme.finish(
        figure, title, name=name, dark=dark, width=width, height=plot[1] + top + SIDES["b"], note=note, line=line,
        margin=SIDES | dict(t=top, b=SIDES["b"] + UNDER),
    )  # fmt: skip
