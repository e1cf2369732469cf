"""Everybody's progress as rows of a table: read once for all who watch."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import state, words
from app.room import greeting
from peftcore.engine.room.progress import Progress
from peftcore.engine.room.progress import progress as of_all
from peftcore.store import spreadsheet

SECONDS = 2.0
WHOLE, TALL = 18, 640  # people whose rows all show; pixels of the table of more


@st.cache_data(ttl=SECONDS / 2, show_spinner=False)
def rows(folder: str) -> list[Progress]:
    """Everybody's, at most this old. `folder`: of the store."""
    return of_all(state.whole_store(), greeting.room())


def progress() -> list[Progress]:
    """Everybody's progress."""
    return rows(str(state.whole_store().folder))


def doing(row: Progress) -> str:
    """What somebody's runs do now: 'run 12 works, 2 runs wait'."""
    waiting = row.counts.get("queued", 0)
    parts = [f"run {row.working} works"] if row.working else []
    if waiting:
        parts.append(f"{waiting} {'run waits' if waiting == 1 else 'runs wait'}")
    return ", ".join(parts) or ("nothing yet" if row.newest is None else f"last run {row.newest.status}")


def frame(everybody: list[Progress]) -> pd.DataFrame:
    """A row for each person."""
    return pd.DataFrame(
        [
            {
                "name": row.name or "This machine",
                "now": doing(row),
                "done": row.share,
                "validation accuracy": row.curve,
                "best": row.val,
                "best run": row.best,
                "finished": row.counts.get("finished", 0),
                "failed": row.counts.get("failed", 0) + row.counts.get("interrupted", 0),
                "last change": words.age(row.changed) if row.changed else "",
                "limits": "lifted" if row.person and row.person.lifted else "",
            }
            for row in everybody
        ]
    )


def draw() -> None:
    """The table, live."""
    st.fragment(_table, run_every=SECONDS)()


def _table() -> None:
    everybody = progress()
    st.container(key="own_csv_room").dataframe(
        frame(everybody),
        hide_index=True,
        key="room_overview",
        placeholder="",
        height="content" if len(everybody) <= WHOLE else TALL,
        column_config={
            "name": st.column_config.TextColumn(pinned=True, width=160),
            "now": st.column_config.TextColumn(width=150),
            "done": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1, width=95),
            "validation accuracy": st.column_config.LineChartColumn("validation", y_min=0, y_max=1, width=100),
            "best": st.column_config.NumberColumn(format="%.3f", width=60),
            "best run": st.column_config.NumberColumn(width=70),
            "finished": st.column_config.NumberColumn(width=70),
            "failed": st.column_config.NumberColumn(width=55),
            "last change": st.column_config.TextColumn(width=85),
            "limits": st.column_config.TextColumn(width=55),
        },
    )


def csv() -> bytes:
    """The same as a file."""
    found = frame(progress())
    if len(found):
        found["validation accuracy"] = [" ".join(f"{value:.4f}" for value in curve) for curve in found.iloc[:, 3]]
    return spreadsheet.file(found)
