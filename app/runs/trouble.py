"""What is wrong with a run, by its name: NaN, a collapse, a plateau."""

from __future__ import annotations

import streamlit as st

from app import state
from peftcore.store import RunRecord
from peftcore.store.collapse import Collapse, collapse
from peftcore.store.plateau import Plateau, plateau

DIVERGED = "Diverged"  # the error with which a run ends whose loss or gradient is no number any more


def name(record: RunRecord) -> str:
    """'NaN', 'attention collapsed', 'plateau since epoch 4', or '' of a run with which nothing is wrong.

    Reads its validations.
    """
    if record.status == "failed":
        return "NaN" if _diverged(str(state.store().folder), record.id, record.attempts) else ""
    if found := collapsed(record):
        return found.name
    stuck = of(record)
    return f"plateau since epoch {stuck.since}" if stuck else ""


def collapsed(record: RunRecord) -> Collapse | None:
    """The collapse that a run is in after its newest epoch."""
    store = state.store()
    started, entropy = (store.last_event(record.id, kind) for kind in ("started", "side_entropy"))
    return collapse(record.spec, started, store.events(record.id, kinds="evaluation"), [entropy] if entropy else [])


def of(record: RunRecord) -> Plateau | None:
    """The plateau on which a run is, or on which it ended."""
    if not record.ended:
        return _plateau(record.id)
    return _ended(str(state.store().folder), record.id, record.attempts)


@st.cache_data(show_spinner=False, max_entries=512)
def _ended(folder: str, run: int, attempts: int) -> Plateau | None:
    return _plateau(run)


def _plateau(run: int) -> Plateau | None:
    return plateau(state.store().events(run, kinds="evaluation"))


@st.cache_data(show_spinner=False, max_entries=512)
def _diverged(folder: str, run: int, attempts: int) -> bool:
    event = state.store().last_event(run, "failed")
    return event is not None and event["error"] == DIVERGED
