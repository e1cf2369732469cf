"""AppTest for pages: a store of its own for each test, and no Ray."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest

from app import desk as desk_module
from app import drawn, figure, state, theme
from app import room as rooms
from app.room import greeting, who
from peftcore.engine.forecast import Oracle
from peftcore.engine.line import Line
from peftcore.fetch.confined import VARIABLE
from peftcore.store import Store
from peftcore.task import Split

ROOT = Path(__file__).resolve().parents[2]


class StillEngine:
    """Stands for the engine where a test is about a page: it queues runs in the store and works on none."""

    def __init__(self, store: Store):
        self.store, self.state, self.slots = store, "ready", 1

    def submit(self, spec, owner="", title="", predicted=None):
        run = self.store.create_run(spec if isinstance(spec, dict) else spec.to_dict(), owner=owner, title=title)
        if predicted:
            self.store.put_artifact(run, "predicted", json.dumps(predicted).encode())
        return run

    def refusal(self, settings, predicted, owner=""):
        return None  # it has no machine that would be too small

    def cancel(self, run):
        return self.store.set_status(run, "cancelled", only_from=("queued", "running"))

    def resume(self, run):
        self.store.set_status(run, "queued")

    def submit_race(self, specs, owner="", title=""):
        return self.store.create_race([spec.to_dict() for spec in specs], owner=owner, title=title)[0]

    def cancel_race(self, race):
        return [self.cancel(record.id) for record in self.store.runs(race=race)]

    def resume_race(self, race):
        for record in self.store.runs(race=race, status=("failed", "cancelled", "interrupted")):
            self.resume(record.id)

    def queue(self):
        return self.store.waiting()

    def ahead(self, run):
        waiting = self.store.waiting()
        return waiting.index(run) if run in waiting else 0

    def forecast(self, owner=""):
        working = [(record.id,) for record in self.store.runs(status="running")]
        line = Line(self.store, lambda settings: None)
        return Oracle(self.store).look(owner, lambda more: line.order({}, (), more), working, self.slots)


@pytest.fixture(scope="session", autouse=True)
def _components_are_looked_for_once() -> Iterator[None]:
    """Every AppTest looks through all installed packages for components, which takes longer than most pages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(autouse=True)
def in_threads(monkeypatch):
    """What pages compute is computed in the test's own process, where its monkeypatches are; a process is cheap once
    and not in each of pytest's workers. tests/app/test_background.py has the processes."""
    monkeypatch.setattr(desk_module, "PROCESSES", False)


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """The store of this test, which the pages use as well."""
    monkeypatch.setenv("HEADROOM_HOME", str(tmp_path))
    return Store(tmp_path)


@pytest.fixture
def engine(store, monkeypatch) -> StillEngine:
    still = StillEngine(store)
    monkeypatch.setattr(state, "whole_engine", lambda: still)
    return still


@pytest.fixture
def entry_first(monkeypatch) -> None:
    """AppTest treats the folder `pages` as a new server does before its first visitor; see app/__init__.py."""
    made = PagesManager.__init__

    def make(self, *args, **kwargs):
        made(self, *args, **kwargs)
        PagesManager.uses_pages_directory = False

    monkeypatch.setattr(PagesManager, "__init__", make)


@pytest.fixture
def at(engine, entry_first):
    """at("runs", run=3): the app at a page, run once; no exception may be in it."""

    def open_page(page: str, **query: object) -> AppTest:
        st.cache_data.clear()
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=60)
        app.query_params.update({key: value if isinstance(value, list) else str(value) for key, value in query.items()})
        if page != "home":
            app.switch_page(f"pages/{page}.py")
        app.run()
        assert not app.exception, app.exception
        return app

    return open_page


@pytest.fixture
def built(monkeypatch) -> list[str]:
    """Titles of the figures that are built from here on, with nothing kept of what others saw before."""
    titles, of = [], figure.of

    def counted(made, *args):
        titles.append(figure.title(made) or "")
        return of(made, *args)

    for module in (figure, theme):
        monkeypatch.setattr(module, "of", counted)
    monkeypatch.setattr(drawn, "_kept", drawn.OrderedDict())
    return titles


@pytest.fixture(scope="session")
def recorded() -> dict[str, tuple[dict, list[dict], dict[str, bytes], dict]]:
    """Real runs on a few images, LoRA and LAST: spec, events, artifacts and summary by method."""
    import torch

    from peftcore.engine.job import SUMMARY
    from peftcore.engine.worker import artifacts_of
    from peftcore.spec import RunSpec
    from peftcore.train import loop

    torch.set_num_threads(1)
    whole = loop.load_task("digits")
    parts = {name: getattr(whole, name) for name in ("train", "val", "test")}
    few = {name: Split(part.images[:24], part.labels[:24]) for name, part in parts.items()}
    runs = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_task", lambda name: replace(whole, **few))
        for method in ("lora", "last"):
            spec = RunSpec(method=method, epochs=2, batch_size=12, lr=0.01, pretrained=False)
            told, artifacts = [], {}
            for event in loop.finetune(spec):
                told.append(event.to_dict())
                artifacts |= artifacts_of(event)
            runs[method] = (spec.to_dict(), told, artifacts, {name: told[-1][name] for name in SUMMARY})
    return runs


@pytest.fixture
def trained(store, recorded) -> dict[str, int]:
    """The recorded runs in this test's store, as the engine writes them: {"lora": run, "last": run}."""
    numbers = {}
    for method, (spec, told, artifacts, summary) in recorded.items():
        numbers[method] = run = store.create_run(spec)
        store.set_status(run, "running")
        store.append(run, told, artifacts)
        store.set_status(run, "finished", summary=summary)
    return numbers


@pytest.fixture
def room(store, monkeypatch):
    """A room on this test's store."""
    monkeypatch.setenv(rooms.OPEN, "1")
    monkeypatch.setenv(VARIABLE, "none")
    here = greeting.room()
    yield here
    here.close()
    greeting._room.cache_clear()


@pytest.fixture
def as_(room, monkeypatch):
    """as_("Ana"): from here on the pages are this person's; None is a stranger."""

    def be(name: str | None):
        known = {person.name: person for person in room.now().people.values()}
        person = known.get(name) or (room.enter(name) if name else None)
        # A cookie reaches the page's own run, and no thread that works beside it.
        beside = "headroom-page"
        monkeypatch.setattr(
            who, "me", lambda: person and threading.current_thread().name != beside and room.person(person.id) or None
        )
        return person

    return be
