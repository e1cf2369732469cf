"""The server: what begins with it, before anybody opens a page."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from streamlit.web.server.app_discovery import discover_asgi_app

from app import state
from peftcore import errors

ROOT = Path(__file__).resolve().parents[2]


def test_the_engine_begins_with_the_server_and_waits_for_its_store(monkeypatch):
    begun, tries = threading.Event(), []

    def engine():
        tries.append(1)
        if len(tries) == 1:
            raise errors.StoreUnavailable("the disk is full")
        begun.set()

    monkeypatch.setattr(state, "whole_engine", engine)
    monkeypatch.setattr(state, "FIRST_PAINT_SECONDS", 0.0)
    monkeypatch.setattr(state, "AGAIN_SECONDS", 0.0)

    async def serve():
        async with state.lifespan():
            assert await asyncio.to_thread(begun.wait, 30)

    asyncio.run(serve())
    assert len(tries) == 2


def test_both_entries_are_servers_with_that_lifespan():
    """`streamlit run` reads the file for it; a page's script is the same file, as __main__."""
    for name in ("streamlit_app", "room_app"):
        assert discover_asgi_app(ROOT / f"{name}.py").import_string == f"{name}:app"
