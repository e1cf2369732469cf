"""AppTest for pages: a store of its own for each test, and no Ray."""

from __future__ import annotations

from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app import state
from peftcore.store import Store

ROOT = Path(__file__).resolve().parents[2]


class StillEngine:
    """Stands for the engine where a test is about a page: it queues runs in the store and works on none."""

    def __init__(self, store: Store):
        self.store, self.state, self.slots = store, "ready", 1

    def submit(self, spec, owner="", title=""):
        return self.store.create_run(spec if isinstance(spec, dict) else spec.to_dict(), owner=owner, title=title)

    def cancel(self, run):
        return self.store.set_status(run, "cancelled", only_from=("queued", "running"))

    def resume(self, run):
        self.store.set_status(run, "queued")

    def queue(self):
        return self.store.waiting()

    def ahead(self, run):
        waiting = self.store.waiting()
        return waiting.index(run) if run in waiting else 0


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """The store of this test, which the pages use as well."""
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    return Store(tmp_path)


@pytest.fixture
def engine(store, monkeypatch) -> StillEngine:
    still = StillEngine(store)
    monkeypatch.setattr(state, "engine", lambda: still)
    monkeypatch.setattr(state, "begin", lambda: None)
    return still


@pytest.fixture
def at(engine):
    """at("runs", run=3): the app at a page, run once; no exception may be in it."""

    def open_page(page: str, **query: object) -> AppTest:
        st.cache_data.clear()
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
        app.query_params.update({key: str(value) for key, value in query.items()})
        if page != "home":
            app.switch_page(f"pages/{page}.py")
        app.run()
        assert not app.exception, app.exception
        return app

    return open_page
