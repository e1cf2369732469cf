"""Everybody's progress as rows of a table: read once for all who watch."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from app import state, words
from app.room import greeting
from peftcore.engine.room.progress import Progress
from peftcore.engine.room.progress import progress as of_all

SECONDS = 2.0


@st.cache_data(ttl=SECONDS / 2, show_spinner=False)
def rows(folder: str) -> list[Progress]:
    """Everybody's, at most this old. `folder`: of the store."""
    return of_all(state.whole_store(), greeting.room())


def progress() -> list[Progress]:
    """Everybody's progress."""
    return rows(str(state.whole_store().folder))


def doing(row: Progress) -> str:
    """What somebody's runs do now: 'run 12 works, 2 wait'."""
    waiting = row.counts.get("queued", 0)
    parts = [f"run {row.working} works"] if row.working else []
    if waiting:
        parts.append(f"{waiting} {'waits' if waiting == 1 else 'wait'}")
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
    st.dataframe(
        frame(everybody),
        hide_index=True,
        key="room_overview",
        placeholder="",
        height=min(35 * (len(everybody) + 1) + 3, 640),
        column_config={
            "name": st.column_config.TextColumn(pinned=True),
            "now": st.column_config.TextColumn(width="medium"),
            "done": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            "validation accuracy": st.column_config.LineChartColumn(y_min=0, y_max=1),
            "best": st.column_config.NumberColumn(format="%.3f"),
        },
    )


def csv() -> bytes:
    """The same as a file."""
    found = frame(progress())
    if len(found):
        found["validation accuracy"] = [" ".join(f"{value:.4f}" for value in curve) for curve in found.iloc[:, 3]]
    return found.to_csv(index=False).encode()
