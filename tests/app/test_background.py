"""Results that pages wait for: made once, but for what went wrong outside of the app; in turns; in processes."""

from __future__ import annotations

import re
import threading
import time

import psutil
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from app import background, libraries, stopped
from app import desk as desk_module
from app.desk import Desk
from app.worker import Call, Left, OverLimit, Worker
from app.worker_process import say
from peftcore import errors


def ask(desk: Desk, work):
    job = desk.ask("key", work)
    background.wait(job, lambda: None, st.empty())
    return job


def test_a_fault_that_may_be_mended_outside_is_looked_at_again(monkeypatch):
    desk, made = Desk(), []

    def work():
        made.append(1)
        return errors.BadData("There is no folder.") if len(made) == 1 else "images"

    assert isinstance(ask(desk, work).result(), errors.BadData)
    assert isinstance(ask(desk, work).result(), errors.BadData) and len(made) == 1  # a page that begins again sees it
    monkeypatch.setattr(desk_module, "STALE_SECONDS", -1.0)
    assert ask(desk, work).result() == "images"
    assert ask(desk, work).result() == "images" and len(made) == 2


def test_results_and_impossible_settings_stay(monkeypatch):
    monkeypatch.setattr(desk_module, "STALE_SECONDS", -1.0)
    for result in (None, 3, errors.DoesNotFit("It has no q.")):
        desk, made = Desk(), []
        for _ in range(2):
            assert ask(desk, lambda made=made, result=result: made.append(1) or result).result() is result
        assert len(made) == 1


def test_what_raises_outside_is_tried_again(monkeypatch):
    desk = Desk()
    monkeypatch.setattr(desk_module, "STALE_SECONDS", -1.0)

    def absent():
        raise errors.DataUnavailable("Not here.")

    assert isinstance(ask(desk, absent).exception(), errors.DataUnavailable)
    assert ask(desk, lambda: "here").result() == "here"


# Fair shares


@pytest.fixture
def sessions(monkeypatch):
    """sessions("ann"): what is asked for from now on, she asks for."""
    now = [""]
    monkeypatch.setattr(desk_module, "session", lambda: now[0])
    return lambda name: now.__setitem__(0, name)


def test_ten_pending_of_one_session_do_not_hold_up_another(sessions):
    desk, gate, done = Desk(), threading.Event(), []
    sessions("ann")
    first = desk.ask("first", gate.wait)
    more = [desk.ask(nth, lambda nth=nth: done.append(f"ann {nth}")) for nth in range(10)]
    sessions("bob")
    his = [desk.ask(f"b{nth}", lambda nth=nth: done.append(f"bob {nth}")) for nth in range(2)]
    gate.set()
    for job in (first, *more, *his):
        job.result(10)
    assert sorted(done[:4]) == ["ann 0", "ann 1", "bob 0", "bob 1"] and done[0][:3] != done[1][:3], "they take turns"
    assert done[4:] == [f"ann {nth}" for nth in range(2, 10)]


def test_one_session_leaves_a_place_to_others(sessions):
    desk, gate = Desk(2), threading.Event()
    sessions("ann")
    hers = [desk.ask(nth, gate.wait) for nth in range(5)]
    sessions("bob")
    assert desk.ask("his", lambda: "his").result(10) == "his" and not any(job.done() for job in hers)
    gate.set()
    assert all(job.result(10) for job in hers)


def test_what_nobody_waits_for_is_put_aside_and_done_when_somebody_does(sessions, monkeypatch):
    desk, gate, made = Desk(), threading.Event(), []
    sessions("ann")
    desk.ask("long", gate.wait)
    left = desk.ask("left", lambda: made.append(1) or "made")
    left.looked -= desk_module.PATIENCE + 1  # she closed her page
    last = desk.ask("last", lambda: "last")
    gate.set()
    assert last.result(10) == "last" and not made and not left.done() and not left.cancelled()
    sessions("bob")
    assert left.result(10) == "made" and len(made) == 1


def test_many_pending_are_never_thrown_out(sessions, monkeypatch):
    monkeypatch.setattr(desk_module, "MOST_KEPT", 4)
    desk, gate = Desk(), threading.Event()
    sessions("ann")
    first = desk.ask("first", gate.wait)
    sessions("bob")
    jobs = [desk.ask(nth, lambda nth=nth: nth) for nth in range(12)]
    gate.set()
    assert [job.result(10) for job in jobs] == list(range(12)) and first.result(10)
    desk.ask("one more", lambda: None).result(10)
    assert len(desk.jobs) <= 4, "what is done makes room"


# In a process: one for all tests, since it takes seconds to start


def greets(name: str) -> str:
    say(1, 2)
    return f"hello {name}"


def matches_for_ever(pattern: str) -> bool:
    return bool(re.match(pattern, "a" * 40 + "!"))


def takes(size: int, seconds: float) -> int:
    held = bytearray(size)
    for place in range(0, size, 4096):
        held[place] = 1
    time.sleep(seconds)
    return len(held)


def refuses() -> None:
    raise errors.DoesNotFit("It has no q.")


def test_a_process_answers_and_is_ended_where_it_takes_too_much_or_nobody_waits(monkeypatch):
    monkeypatch.setattr(libraries, "MODULES", ())
    worker, told = Worker(), []

    def call(function, *args, wanted=lambda: True, **limits):
        return worker(Call(function, args, **limits), wanted, lambda *said: told.append(said))

    try:
        assert call(greets, "you") == "hello you" and told == [(1, 2)]
        process = worker._process.pid
        with pytest.raises(errors.DoesNotFit, match="It has no q"):
            call(refuses)
        with pytest.raises(OverLimit, match="more than 1 s of a processor"):
            call(matches_for_ever, "(a+)+$", seconds=1)
        assert not psutil.pid_exists(process)
        with pytest.raises(OverLimit, match="50 MB of memory"):
            call(takes, 4_000_000_000, 0, size=50_000_000)
        began = time.monotonic()
        with pytest.raises(Left):
            call(takes, 10, 600, wanted=lambda: False, seconds=6000)
        assert worker._process is None and time.monotonic() - began < 100
    finally:
        worker.end()


# Streamlit's own Stop


def stops_itself():
    """A page that the reader stops, by the button in Streamlit's header, while it waits."""
    from concurrent.futures import Future

    import streamlit as st
    from streamlit.runtime.scriptrunner import get_script_run_ctx

    from app import background

    place = st.empty()
    with place.container(horizontal=True):
        bar = st.empty()
        st.button("Stop")

    def tell():
        bar.progress(0.5, "Half of it")
        get_script_run_ctx().script_requests.request_stop()

    background.wait(Future(), tell, place)


def test_a_page_that_was_stopped_shows_nothing_as_under_way():
    page = AppTest.from_function(stops_itself).run()
    assert [said.value for said in page.info] == [stopped.SAYS]
    assert not page.button and not page.get("progress") and not page.exception


def page_that_needs_libraries() -> None:
    import streamlit as st

    from app import libraries

    libraries.ready()
    st.text("the page")


def test_a_page_stands_where_it_stood_once_the_libraries_are_there(monkeypatch):
    monkeypatch.setattr(background, "apart", lambda *a: None)
    monkeypatch.setattr(background, "later", lambda *a: background.settled(None))
    places = []
    for there in (False, True):
        monkeypatch.setattr(libraries, "loaded", lambda there=there: there)
        app = AppTest.from_function(page_that_needs_libraries).run()
        places.append([place for place, element in app.main.children.items() if element.type == "text"])
    assert places[0] == places[1] != []
