"""What all pages and all sessions share: the store of runs and the engine that works on them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import streamlit as st

from peftcore.home import home
from peftcore.store import Store, marks

if TYPE_CHECKING:
    from peftcore.engine import Engine

FIRST_PAINT_SECONDS = 1.0  # Ray's import takes a core for seconds; the first page is drawn before


def store() -> Store:
    """The store in HEADROOM_HOME."""
    return _store(str(home()))


@st.cache_resource(show_spinner=False)
def _store(folder: str) -> Store:
    found = Store(folder)
    marks.purge(found)  # what was deleted days ago
    return found


def engine() -> Engine:
    """The engine of this process; the first call starts it in the background and returns at once."""
    from peftcore.engine import get_engine

    return get_engine()


@st.cache_resource(show_spinner=False)
def begin() -> threading.Timer:
    """Starts the engine once per process, soon after the first page is drawn and before anybody presses a button."""
    timer = threading.Timer(FIRST_PAINT_SECONDS, engine)
    timer.daemon = True
    timer.start()
    return timer
