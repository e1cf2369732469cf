"""The app with a door, for a room of many: a code lets people in, and each has a name.

streamlit run room_app.py --server.address 0.0.0.0      (or: make app HOST=0.0.0.0)
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st

from app import room, state
from app.room import door, greeting

os.environ[room.OPEN] = "1"


@asynccontextmanager
async def lifespan(app: st.App) -> AsyncIterator[None]:
    """Greets, and begins the engine."""
    async with greeting.lifespan(app), state.lifespan(app):
        yield


app = st.App(
    "streamlit_app.py",
    routes=door.routes(greeting.room),
    middleware=door.middleware(greeting.room),
    lifespan=lifespan,
)
