"""What becomes of pages when rights change under them, and whose runs a name brings."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
import streamlit as st
from test_room_pages import keys, text

from app import background, state, subjects
from app.room import greeting, guesses, who
from app.try_it import answers
from peftcore import errors
from peftcore.engine import Engine
from peftcore.engine.room import archive
from peftcore.store import marks


def test_a_page_lives_on_when_others_runs_are_closed_to_it(at, as_, room, store, engine, trained):
    spec = store.run(trained["lora"]).spec
    other = engine.submit(spec, owner="Bo")
    as_("Ana")
    own = engine.submit(spec, owner="Ana")
    page = at("runs", run=own)
    page.checkbox(f"pick_{other}").check().run()
    room.set(looking="own")
    for _ in range(2):
        page.run()
        assert not page.error and f"run_{own}" in keys(page) and f"run_{other}" not in keys(page)
        assert page.subheader, "one's own run is drawn"


def test_an_archive_waits_for_no_other_persons_and_one_that_was_stopped_can_be_packed_again(
    at, as_, store, engine, trained, monkeypatch
):
    with store.write() as db:
        db.execute("UPDATE runs SET owner = CASE id WHEN ? THEN 'Bo' ELSE 'Ana' END", (trained["lora"],))
    held, begun, write = threading.Event(), [], archive.write

    def slow(*given):
        begun.append(given[2])
        return held.wait(60) and write(*given)

    monkeypatch.setattr(archive, "write", slow)
    monkeypatch.setattr(background, "wait", lambda job, tell, place: tell())  # a page that does not wait
    monkeypatch.setattr(st, "rerun", st.stop)
    as_("Bo")  # enters before the store is opened, which reserves the names that it holds
    as_("Ana")
    pages = [at("room"), at("room")]
    for page in pages:
        page.button("archive_make").click().run()
        assert not page.error and "archive_stop" in keys(page)
    as_("Bo")
    at("room").button("archive_make").click().run()
    deadline = time.monotonic() + 30
    while len(begun) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert begun == ["Ana", "Bo"], "a person's second one waits for the first"
    as_("Ana")
    assert not pages[1].button("archive_stop").click().run().error and "archive_stop" not in keys(pages[1])
    held.set()


def test_a_deleted_run_is_forgotten_by_its_owner_alone(at, as_, store, engine, trained):
    run = trained["lora"]
    with store.write() as db:
        db.execute("UPDATE runs SET owner = 'Ana'")
    as_("Ana")
    marks.delete(state.store(), [run])
    as_("Bo")
    assert not {"restore", "forget"} & keys(at("runs", run=run))
    as_("Ana")
    page = at("runs", run=run)
    page.button("forget").click().run()
    assert "deleted for good" in text(page) and not page.error and "runs_undo" not in keys(page)
    with pytest.raises(errors.UnknownName):
        store.run(run)


def test_a_name_with_runs_is_reserved_before_anybody_enters(store, room, monkeypatch):
    """Also where the room's own file was lost: who comes first as Ana is not the Ana of these runs."""
    store.create_run({"task": "digits"}, owner="Ana")
    monkeypatch.setattr(state, "_begin", lambda: None)
    state._store.clear()

    async def opened() -> str:
        async with state.lifespan():
            return greeting.room().enter("Ana").name

    assert asyncio.run(opened()) == "Ana (2)"
    state._store.clear()


def test_however_often_somebody_guesses_the_pause_is_a_number():
    tries = guesses.Guesses(lambda: 0.0)
    for _ in range(2000):
        tries.wrong("10.0.0.1")
    assert tries.wait("10.0.0.1") == guesses.LONGEST


def test_a_deleted_run_does_not_go_on(store):
    run = store.create_run({"task": "digits"})
    store.set_status(run, "cancelled")
    marks.delete(store, [run])
    with pytest.raises(errors.InvalidSetting, match="was deleted; restore it"):
        Engine(store).resume(run)  # one that was not started
    assert store.run(run).status == "cancelled"


def test_work_beside_a_page_is_done_for_whom_the_page_was_allowed(at, as_, room, trained, monkeypatch):
    """A cookie reaches no thread and no process: who they are is asked before work is handed over."""
    run = trained["lora"]
    for person in ("Ana", "Bo"):
        as_(person)
        for page, more in (("try_it", {"runs": run, "from": "test"}), ("attribution", {"run": run})):
            assert "Enter the room first" not in text(at(page, **more)), page
    with pytest.raises(errors.NotYours):
        as_(None)
        state.store()
    refused = errors.NotYours("No.")
    monkeypatch.setattr(who, "task", lambda name: (_ for _ in ()).throw(refused))
    found = answers.ask(subjects.run(subjects.Subject(subjects.GALLERY, "lora-digits")), "test-3-digits")
    assert found.result() is refused, "a kept answer is for those who may see the image"
