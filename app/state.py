"""What all pages and all sessions share: the store of runs, the engine that works on them, the shelf of images.

In a room each person has them as their own: `store()` shows what they may look at, and all three refuse what they may
not change.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.room import greeting, is_room, who
from peftcore import uploads
from peftcore.home import home
from peftcore.room import rules
from peftcore.room.acting import EngineAs, ShelfAs, StoreAs
from peftcore.store import Store, marks

if TYPE_CHECKING:
    from peftcore.engine import Engine

FIRST_PAINT_SECONDS = 1.0  # Ray's import takes a core for seconds; the first page is drawn before


def store() -> Store:
    """The store in HEADROOM_HOME."""
    whole, rights = _store(str(home())), who.rights()
    return whole if rights is None else StoreAs(whole, rights)


@st.cache_resource(show_spinner=False)
def _store(folder: str) -> Store:
    found = Store(folder)
    marks.purge(found)  # what was deleted days ago
    return found


def engine() -> Engine | EngineAs:
    """The engine of this process; the first call starts it in the background and returns at once."""
    rights = who.rights()
    return whole_engine() if rights is None else EngineAs(whole_engine(), StoreAs(_store(str(home())), rights))


def whole_engine() -> Engine:
    """The engine as the machine has it, for what no visitor asks for."""
    from peftcore.engine import get_engine

    found = get_engine()
    if is_room():
        found.caps_of = rules.caps_of(greeting.room())
    return found


def shelf() -> Any:
    """What keeps, lists and removes sets of uploaded images: `peftcore.uploads`, or a ShelfAs."""
    rights = who.rights()
    return uploads if rights is None else ShelfAs(rights)


@st.cache_resource(show_spinner=False)
def begin() -> threading.Timer:
    """Starts the engine once per process, soon after the first page is drawn and before anybody presses a button."""
    timer = threading.Timer(FIRST_PAINT_SECONDS, whole_engine)
    timer.daemon = True
    timer.start()
    return timer
