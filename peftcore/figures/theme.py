"""What all figures share: template, fixed colours and dashes, titles and numbers as people read them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from peftcore.events import COMPONENTS as COMPONENTS  # their order in every stack
from peftcore.figures.words import (
    NARROW,
    TITLE_WIDTH,
    byte_unit,
    ceiling,
    human_count,
    percent,
    plain,
    si_bytes,
    times,
    wrap,
)
from peftcore.registry import METHODS, Facts

__all__ = [
    "NARROW",
    "byte_unit",
    "ceiling",
    "component_colour",
    "component_title",
    "dash",
    "finish",
    "human_count",
    "ink",
    "larger",
    "marked",
    "method_colour",
    "method_in_text",
    "method_kind",
    "method_title",
    "muted",
    "narrowed",
    "numbered",
    "percent",
    "plain",
    "si_bytes",
    "symbol",
    "times",
    "title_height",
    "wrap",
]

COMPONENT_TITLES = {
    "frozen_weights": "frozen weights",
    "trainable_weights": "trainable weights",
    "gradients": "gradients",
    "optimizer": "optimizer state",
    "cached_features": "cached features",
    "features": "frozen features",
    "activations": "kept activations",
    "workspace": "workspace",
}
COMPONENT_COLOURS = {
    "frozen_weights": "#8DA0B3",
    "trainable_weights": "#0072B2",
    "gradients": "#56B4E9",
    "optimizer": "#CC79A7",
    "cached_features": "#009E73",
    "features": "#7CCBB0",
    "activations": "#E69F00",
    "workspace": "#BBBBBB",
}
# A pattern each, so that the components can be told apart in grey and by the colour-blind.
COMPONENT_PATTERNS = {
    "frozen_weights": "|",
    "trainable_weights": "x",
    "gradients": "/",
    "optimizer": "\\",
    "cached_features": ".",
    "features": "+",
    "activations": "",
    "workspace": "-",
}
PATTERN = dict(fgcolor="#FFFFFF", fgopacity=0.55, fillmode="replace")

# For methods that have no colour of their own yet: greens and blues in the backbone, purples beside it.
_OTHERS = {"in-backbone": ("#3949AB", "#00897B", "#558B2F", "#0288D1"), "side": ("#7E57C2", "#9C27B0", "#B39DDB")}

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


def muted(dark: bool = False) -> str:
    """The colour of what should stay in the background: tick labels, notes, ghosts."""
    return "#A3AEBA" if dark else "#55606D"


def _facts(name: str) -> Facts | None:
    """None where a run, an older one or from another machine, has a method that is not here."""
    return METHODS.facts(name) if name in METHODS.names() else None


def method_kind(name: str, kind: str | None = None) -> str:
    """`kind` where it is known, else from the method's file; methods that are not here count as in-backbone."""
    facts = _facts(name)
    return kind or (facts.kind if facts else "in-backbone")


def method_colour(name: str, kind: str | None = None, dark: bool = False) -> str:
    """The method's fixed colour; a method without one always gets the same one of its kind's."""
    facts = _facts(name)
    if facts and facts.colour:
        return facts.dark_colour or facts.colour if dark else facts.colour
    others = _OTHERS[method_kind(name, kind)]
    return others[zlib.crc32(name.encode()) % len(others)]


def component_colour(name: str) -> str:
    """The fixed colour of a memory component."""
    return COMPONENT_COLOURS[name]


def dash(kind: str) -> str:
    """Line style by kind: in-backbone methods draw solid lines, side methods dashed."""
    return "dash" if kind == "side" else "solid"


def symbol(kind: str) -> str:
    """Marker by kind, for scatters."""
    return "diamond" if kind == "side" else "circle"


def method_title(name: str) -> str:
    """How the field writes the method's name."""
    facts = _facts(name)
    return facts.title if facts else name.replace("_", " ")


def method_in_text(name: str) -> str:
    """The method in the middle of a sentence."""
    facts = _facts(name)
    return facts.called or facts.title if facts else method_title(name)


def component_title(name: str) -> str:
    """The memory component in words."""
    return COMPONENT_TITLES[name]


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
    """Give a figure the template, its title and a stable identity.

    `name` is its `uirevision`: while it stays the same, a figure drawn again keeps the reader's zoom and
    hidden curves. `note` is the smaller line under the title; `line` the title's characters per line.
    """
    text = wrap(title, line)
    top = title_height(title, line, note)
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


def narrowed(figure: go.Figure, width: int) -> go.Figure:
    """Wraps the title and the small lines under it again where they are wider than `width` pixels. What the figure
    draws keeps its size where that is fixed."""
    title, *notes = (figure.layout.title.text or "").split("<br><span")
    said, fits = title, int(width / LETTER)
    if max(map(len, title.split("<br>"))) > fits:
        said = wrap(title.replace("<br>", " "), fits)
    small = [_note_wrapped(note, int(width / SMALL_LETTER)) for note in notes]
    more = 21 * (said.count("<br>") - title.count("<br>")) + NOTE_HEIGHT * sum(note.count("<br>") for note in small)
    text = "<br><span".join([said, *small])
    if text == figure.layout.title.text:
        return figure
    figure.update_layout(title=dict(text=text, pad_t=20), margin_t=(figure.layout.margin.t or 0) + more)
    if figure.layout.height and figure.layout.autosize is False:
        figure.update_layout(height=figure.layout.height + more)
    return figure


def _note_wrapped(note: str, letters: int) -> str:
    """A small line as `_small` writes it, from its style on, in lines of at most so many letters."""
    style, _, rest = note.partition(">")
    text = rest.removesuffix("</span>")
    return note if len(text) <= letters or "<" in text else f"{style}>{wrap(text, letters)}</span>"


def larger(figure: go.Figure, factor: float) -> go.Figure:
    """The figure with its type and height grown, for a projector. What it draws keeps its size where that is fixed."""
    grown, height = go.Figure(_grown(figure.to_dict(), factor)), figure.layout.height
    more = round((factor - 1) * (figure.layout.margin.t or 0))
    grown.update_layout(margin_t=(figure.layout.margin.t or 0) + more)
    if height:
        grown.update_layout(height=height + more if figure.layout.autosize is False else round(factor * height))
    return grown


def _grown(part: Any, factor: float) -> Any:
    """A part of a figure as plain values, its fonts `factor` times as large."""
    if isinstance(part, list | tuple):
        return [_grown(one, factor) for one in part]
    if isinstance(part, str) and "font-size:" in part:
        return re.sub(r"(?<=font-size:)[\d.]+", lambda size: f"{factor * float(size[0]):g}", part)
    if not isinstance(part, dict):
        return part
    return {
        name: value | {"size": factor * value["size"]}
        if name.endswith("font") and isinstance(value, dict) and isinstance(value.get("size"), int | float)
        else _grown(value, factor)
        for name, value in part.items()
    }


def title_height(title: str, line: int = TITLE_WIDTH, note: str = "") -> int:
    """Pixels that the title and its note take at the top of a figure."""
    return 18 + 21 * (wrap(title, line).count("<br>") + 1) + (NOTE_HEIGHT if note else 0)
