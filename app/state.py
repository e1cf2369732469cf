"""What all pages and all sessions share: the store of runs, the engine that works on them, the shelf of images.

In a room each person has them as their own: `store()` shows what they may look at, and all three refuse what they may
not change.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import streamlit as st

from app.room import confine, greeting, is_room, who
from peftcore import uploads
from peftcore.engine.room import rules
from peftcore.engine.room.acting import EngineAs, StoreAs
from peftcore.engine.room.shelf import ShelfAs
from peftcore.errors import HeadroomError
from peftcore.home import home
from peftcore.store import Store, marks

if TYPE_CHECKING:
    from peftcore.engine import Engine

log = logging.getLogger(__name__)

FIRST_PAINT_SECONDS = 3.0  # Ray's import takes a core for seconds; a first page is drawn before
AGAIN_SECONDS = 10.0  # where the store cannot be opened, until the next try


def store() -> Store:
    """The store in HEADROOM_HOME."""
    whole, rights = whole_store(), who.rights()
    return whole if rights is None else StoreAs(whole, rights)


def whole_store() -> Store:
    """The store as the machine has it, for overviews that tell a participant nothing that is not for all."""
    return _store(str(home()))


@st.cache_resource(show_spinner=False)
def _store(folder: str) -> Store:
    found = Store(folder)
    marks.purge(found)  # what was deleted days ago
    if is_room():
        with found.read() as db:
            owners = [owner for (owner,) in db.execute("SELECT DISTINCT owner FROM runs")]
        greeting.room().reserve(owners)
    return found


def engine() -> Engine | EngineAs:
    """The engine of this process; the first call starts it in the background and returns at once."""
    rights = who.rights()
    return whole_engine() if rights is None else EngineAs(whole_engine(), StoreAs(whole_store(), rights))


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


@asynccontextmanager
async def lifespan(_app: Any = None) -> AsyncIterator[None]:
    """Starts the engine with the server, whether or not anybody opens a page: what waits in the store goes on.

    It begins soon after, so that a browser that was waiting has its first page.
    """
    confine()
    if is_room():
        try:
            whole_store()  # reserves the names of those who have runs, before anybody enters
        except HeadroomError as error:
            log.error("no names are reserved: %s", error)
    timer = threading.Timer(FIRST_PAINT_SECONDS, _begin)
    timer.daemon = True
    timer.start()
    yield
    timer.cancel()


def _begin() -> None:
    """The engine, as soon as there is a store for it."""
    while True:
        try:
            whole_engine()
            return
        except HeadroomError as error:
            log.error("the engine waits for the store: %s", error)
            time.sleep(AGAIN_SECONDS)
