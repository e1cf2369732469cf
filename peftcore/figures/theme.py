"""What all figures share: palettes, template, the title with its small lines, the numbers beside the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from peftcore.figures.words import TITLE_WIDTH, wrap

SEQUENTIAL = "Cividis"
# Blue below zero, orange above, nearly white at zero: told apart by every common kind of colour vision.
DIVERGING = ((0.0, "#0B4F8A"), (0.25, "#67A9CF"), (0.5, "#F5F2EC"), (0.75, "#EFA14A"), (1.0, "#A34700"))
CATEGORIES = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#8E63C7",
    "#7F8C9A",
    "#B8A500",
    "#8C564B",
)
SYMBOLS = ("circle", "square", "triangle-up", "diamond", "cross", "x", "star", "triangle-down", "pentagon", "hexagram")
FONT = '"Source Sans", "Source Sans 3", system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif'


def ink(dark: bool = False) -> str:
    """The colour of text and outlines."""
    return "#E6E9EE" if dark else "#1F2933"


NOTE_HEIGHT = 18  # pixels of the small line under a title
LETTER = 7.8  # pixels of a title's letter, about
SMALL_LETTER = 6.4  # of the small lines under a title


def page(dark: bool) -> str:
    """The colour of what a figure stands on, for gaps and rims."""
    return "#11151A" if dark else "#FFFFFF"


def muted(dark: bool = False) -> str:
    """The colour of what should stay in the background: tick labels, notes, ghosts."""
    return "#A3AEBA" if dark else "#55606D"


def _template(dark: bool) -> go.layout.Template:
    grid = "rgba(160,172,186,0.22)" if dark else "rgba(95,107,122,0.16)"
    line = "rgba(160,172,186,0.55)" if dark else "rgba(95,107,122,0.45)"
    axis = dict(
        gridcolor=grid,
        linecolor=line,
        zeroline=False,
        showline=True,
        ticks="outside",
        tickcolor=line,
        ticklen=4,
        tickfont=dict(color=muted(dark), size=12),
        title=dict(font=dict(color=muted(dark), size=12.5), standoff=8),
        automargin=True,
    )
    return go.layout.Template(
        layout=dict(
            font=dict(family=FONT, size=13, color=ink(dark)),
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            title=dict(
                font=dict(size=16, color=ink(dark)),
                x=0,
                xref="container",
                xanchor="left",
                y=1,
                yref="container",
                yanchor="top",
                pad=dict(t=8, l=8),
            ),
            margin=dict(l=56, r=16, t=48, b=44),
            legend=dict(
                orientation="h",
                x=0,
                xanchor="left",
                y=0,
                yref="container",
                yanchor="bottom",
                font=dict(size=12),
                bgcolor="rgba(0,0,0,0)",
                traceorder="normal",
            ),
            hoverlabel=dict(
                bgcolor="#242C35" if dark else "#FFFFFF",
                bordercolor=line,
                align="left",
                font=dict(family=FONT, size=12.5, color=ink(dark)),
            ),
            colorway=list(CATEGORIES),
            xaxis=axis,
            yaxis=axis,
            colorscale=dict(sequential=SEQUENTIAL, diverging=[list(stop) for stop in DIVERGING]),
            modebar=dict(bgcolor="rgba(0,0,0,0)", color=muted(dark), activecolor=ink(dark)),
            annotationdefaults=dict(font=dict(color=muted(dark), size=12), showarrow=False),
        )
    )


TEMPLATES = {False: _template(False), True: _template(True)}


def title_height(title: str, line: int = TITLE_WIDTH, note: str = "") -> int:
    """Pixels that the title and its note take at the top of a figure."""
    return 18 + 21 * (wrap(title, line).count("<br>") + 1) + (NOTE_HEIGHT if note else 0)


def finish(
    figure: go.Figure,
    title: str,
    *,
    name: str,
    dark: bool = False,
    height: int | None = None,
    width: int | None = None,
    note: str = "",
    margin: Mapping[str, int] | None = None,
    line: int = TITLE_WIDTH,
) -> go.Figure:
    """Give a figure the template, its title and a stable identity; a line of a single point becomes that point.

    `name` is its `uirevision`: while it stays the same, a figure drawn again keeps the reader's zoom and
    hidden curves. `note` is the smaller line under the title; `line` the title's characters per line.
    """
    for trace in figure.select_traces({"type": "scatter", "mode": "lines"}):
        points = (True for y in (() if trace.y is None else trace.y) if y is not None and y == y)  # NaN is no equal
        if next(points, False) and not next(points, False):
            trace.update(mode="lines+markers", marker=dict(color=trace.line.color, size=6))
    text = wrap(title, line)
    if width and note and "<" not in note:
        note = wrap(note, max(16, int(width / SMALL_LETTER)))
    top = title_height(title, line, note) + NOTE_HEIGHT * note.count("<br>")
    # Plotly moves a title of several lines up by half a line.
    pad = dict(t=20 if note or "<br>" in text else 8)
    if note:
        text += _small(note, dark)
    more = top - (margin or {}).get("t", top)
    if height and figure.layout.autosize is False and more > 0:  # a long title does not press squares flat
        height += more
    figure.update_layout(
        template=TEMPLATES[bool(dark)], title=dict(text=text, pad=pad), height=height, width=width, uirevision=name
    )
    figure.update_layout(margin=dict(margin or {}) | dict(t=max(top, (margin or {}).get("t", 0))))
    return figure


def numbered(figure: go.Figure, columns: Mapping[str, Sequence[Any]]) -> go.Figure:
    """Gives a figure its numbers as a table to be downloaded, where they are not the x and y of its points: columns of
    one length by name."""
    return figure.update_layout(meta={"numbers": {name: list(values) for name, values in columns.items()}})


def _small(text: str, dark: bool) -> str:
    return f'<br><span style="font-size:12.5px;color:{muted(dark)}">{text}</span>'


def marked(figure: go.Figure, text: str, dark: bool = False) -> go.Figure:
    """Adds a small line under the title, such as 'random weights', which stays with the figure wherever it goes. What
    the figure draws keeps its size where that is fixed."""
    title, top = figure.layout.title, (figure.layout.margin.t or 0) + NOTE_HEIGHT
    figure.update_layout(title=dict(text=(title.text or "") + _small(text, dark), pad_t=20), margin_t=top)
    if figure.layout.height and figure.layout.autosize is False:
        figure.update_layout(height=figure.layout.height + NOTE_HEIGHT)
    return figure
