"""Scores of heads while training goes on: the layer x head grid at each recorded step, played."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme
from peftcore.figures.heads import finding
from peftcore.figures.squares import (
    SIDES,
    Scale,
    cell_side,
    cells,
    checked,
    colour_axis,
    colour_bar,
    lay_square,
    squares,
)
from peftcore.figures.words import how_many


def scores_over_steps(
    frames: Sequence[Mapping], *, score: str, projection: str, width: int = 560, height: int = 560, dark: bool = False
) -> go.Figure:
    """The grid at each recorded step, with a slider and a play button; colours and axes stay fixed.

    Args:
        frames: dicts of `step` and `values` (layers, heads), all of one shape, in step order.
    """
    if not frames:
        raise BadData("Scores over steps need at least one recorded step.")
    grids = np.stack([checked(frame["values"]) for frame in frames])  # (steps, layers, heads)
    rows, columns = grids.shape[1:]
    names, several = [str(frame["step"]) for frame in frames], len(frames) > 1
    margins = SIDES | dict(b=128) if several else SIDES
    cell = cell_side(rows, columns, width, height, margins)
    colours, scale = colour_axis(grids), Scale.of(grids[-1])

    colours["colorbar"] = colour_bar(score, projection, scale, colours)

    def drawn(grid: np.ndarray) -> go.Scatter:
        texts = [[scale.text(value)] for value in grid[~np.isnan(grid)]]
        return squares(
            grid, score, cell, colours, customdata=texts, hovertemplate="%{text}: %{customdata[0]}<extra></extra>"
        )

    by_step = [cells(grid, score) for grid in grids]
    table = {column: [one for each in by_step for one in each[column]] for column in by_step[0]}
    steps = [name for name, each in zip(names, by_step, strict=True) for _ in each["layer"]]
    figure = go.Figure(drawn(grids[-1]))
    if several:
        figure.frames = [go.Frame(data=[drawn(grid)], name=name) for grid, name in zip(grids, names, strict=True)]
        _player(figure, names, dark)
    theme.numbered(figure, {"step": steps} | table)
    lay_square(figure, rows, columns, cell, margins)
    return theme.finish(
        figure,
        finding(grids[-1], projection),
        name="scores-over-steps",
        dark=dark,
        margin=margins,
        note=how_many(len(names), "recorded step") + ("; play, or drag the slider" if several else ""),
        width=figure.layout.width,
        height=figure.layout.height,
        line=max(24, int(figure.layout.width / 8)),
    )


def _player(figure: go.Figure, names: list[str], dark: bool) -> None:
    """Play, pause and a slider over the frames."""
    still = dict(mode="immediate", transition=dict(duration=0))
    play = dict(
        label="&#9654;",
        method="animate",
        args=[None, dict(frame=dict(duration=250, redraw=True), fromcurrent=False, **still)],
    )
    pause = dict(
        label="&#10073;&#10073;", method="animate", args=[[None], dict(frame=dict(duration=0, redraw=True), **still)]
    )
    # Light buttons on dark pages too: Plotly paints a button light while it is pointed at.
    figure.update_layout(
        updatemenus=[
            dict(
                type="buttons",
                direction="left",
                showactive=False,
                x=0,
                xanchor="left",
                y=0,
                yanchor="top",
                pad=dict(t=58, l=-40),
                buttons=[play, pause],
                bgcolor="#E8ECF0",
                bordercolor="#B8C0C9",
                font=dict(color="#1F2933", size=12),
            )
        ],
        sliders=[
            dict(
                active=len(names) - 1,
                x=0.18,
                len=0.82,
                xanchor="left",
                y=0,
                yanchor="top",
                pad=dict(t=44, b=4),
                currentvalue=dict(prefix="step ", font=dict(size=13, color=theme.ink(dark)), xanchor="right"),
                bgcolor=theme.muted(dark),
                bordercolor="rgba(0,0,0,0)",
                ticklen=0,
                minorticklen=0,
                font=dict(size=11, color="rgba(0,0,0,0)"),
                steps=[
                    dict(
                        label=name, method="animate", args=[[name], dict(frame=dict(duration=0, redraw=True), **still)]
                    )
                    for name in names
                ],
            )
        ],
    )
