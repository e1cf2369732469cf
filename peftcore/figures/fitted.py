"""A finished figure made to fit: its title broken anew for a phone, its type grown for a projector."""

from __future__ import annotations

import re
from typing import Any

import plotly.graph_objects as go

from peftcore.figures.theme import LETTER, NOTE_HEIGHT, SMALL_LETTER
from peftcore.figures.words import wrap


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
    if figure.layout.height:  # more lines do not press what is drawn flat
        figure.update_layout(height=figure.layout.height + more)
    return figure


def _note_wrapped(note: str, letters: int) -> str:
    """A small line as `small_line` writes it, from its style on, in lines of at most so many letters."""
    style, _, rest = note.partition(">")
    text = rest.removesuffix("</span>")
    return note if len(text) <= letters or "<" in text else f"{style}>{wrap(text, letters)}</span>"


def larger(figure: go.Figure, factor: float) -> go.Figure:
    """The figure with its type and height grown, for a projector. What it draws keeps its size where that is fixed; its
    title is broken anew where it would then be wider."""
    if figure.layout.width:
        figure = narrowed(go.Figure(figure), int(figure.layout.width / factor))
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
