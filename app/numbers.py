"""The numbers of a figure as a table, to be downloaded under the figure's caption."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from app import errors
from app.drawn import Drawn
from peftcore.store import spreadsheet

DRAWN = "drawn_figures"  # in the session: figures that no caption has taken yet


def drawn(key: str, title: str, figure: go.Figure | Drawn) -> None:
    """Keeps a figure until the next caption, which offers its numbers."""
    st.session_state.setdefault(DRAWN, {})[key] = (title, figure)


def forget() -> None:
    """At the start of a page: what the last run of it left."""
    st.session_state[DRAWN] = {}


def offer() -> None:
    """A popover with the numbers of each figure that was drawn since the last caption."""
    found = st.session_state.pop(DRAWN, {})
    tables = {key: (title, figure) for key, (title, figure) in found.items() if _has_rows(figure)}
    if not tables:
        return
    with st.popover(":small[:gray[numbers]]", type="tertiary", icon=":material/download:"):
        for key, (title, figure) in tables.items():
            st.download_button(
                errors.plain(title or key),
                partial(_csv, figure),
                file_name=f"{key}.csv",
                mime="text/csv",
                key=f"numbers_{key}",
                on_click="ignore",
            )


def button(label: str, frame: pd.DataFrame, name: str) -> None:
    """A button that downloads a whole table as `name`.csv, in which no text is a formula."""
    st.download_button(
        label, partial(spreadsheet.file, frame), file_name=f"{name}.csv", mime="text/csv", key=f"{name}_csv",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def _has_rows(figure: go.Figure | Drawn) -> bool:
    return figure.has_numbers if isinstance(figure, Drawn) else not table(figure).empty


def _csv(figure: go.Figure | Drawn) -> bytes:
    return spreadsheet.file(table(figure.figure() if isinstance(figure, Drawn) else figure))


def table(figure: go.Figure) -> pd.DataFrame:
    """What the figure says its numbers are; else a row for each point: the curve's name, x and y under their axes'
    titles, the value that its colour shows, and the words beside it."""
    if figure.layout.meta:
        return pd.DataFrame(figure.layout.meta["numbers"])
    parts = []
    for trace in figure.data:
        x, y = _column(trace, "x"), _column(trace, "y")
        if x is None or y is None or len(x) != len(y) or trace.name in ("signs", "chance"):
            continue
        columns = {"name": [trace.name or ""] * len(x), _title(figure, trace, "x"): x, _title(figure, trace, "y"): y}
        colour = getattr(getattr(trace, "marker", None), "color", None)
        for title, more in (("value", colour), ("text", getattr(trace, "text", None))):
            if isinstance(more, (Sequence, np.ndarray)) and not isinstance(more, str) and len(more) == len(x):
                columns[title] = list(more)
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _title(figure: go.Figure, trace: Any, axis: str) -> str:
    """Of the axis that a trace stands on: 'loss (nats)'."""
    number = (getattr(trace, f"{axis}axis", None) or axis)[1:]
    return figure.layout[f"{axis}axis{number}"].title.text or axis


def _column(trace: Any, name: str) -> list | None:
    values = getattr(trace, name, None)
    return None if values is None else list(values)
