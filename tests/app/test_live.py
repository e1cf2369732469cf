"""What is under way is drawn anew each second, and less often where many have the app open."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from app import live


@pytest.fixture
def sessions(monkeypatch):
    """sessions(50): so many have the app open."""
    return lambda count: monkeypatch.setattr(live, "_sessions", lambda: count)


def test_half_of_a_core_is_all_that_watching_takes(sessions):
    for count in (1, 5, 20, 50, 200):
        sessions(count)
        assert live.seconds() >= 1 and count * 0.025 / live.seconds() <= 0.5
    sessions(1)
    assert live.seconds() == 1.0 and live.seconds(2.0) == 2.0


def watched() -> None:
    import streamlit as st

    from app import live

    live.draw(lambda word, is_live: st.write(f"{word}, {is_live}"), "seen", is_live=st.session_state["live"])


@pytest.mark.parametrize("is_live", [True, False])
def test_a_view_is_drawn_with_whether_it_is_live(is_live):
    seen = AppTest.from_function(watched)
    seen.session_state["live"] = is_live
    assert [one.value for one in seen.run().markdown] == [f"seen, {is_live}"]


def test_a_page_is_drawn_anew_where_its_pace_is_no_longer_right(sessions, monkeypatch):
    anew = []
    monkeypatch.setattr(live.st, "rerun", lambda: anew.append(live.seconds()))
    every = 1.0
    for count, expected in ((10, 0), (25, 0), (50, 1), (60, 1), (35, 1), (20, 2)):
        sessions(count)
        live._look(lambda is_live: None, (), every, live.SECONDS)
        assert len(anew) == expected, count
        every = anew[-1] if anew else every
    live._look(lambda is_live: None, (), None, live.SECONDS)
    assert len(anew) == 2, "what has ended keeps no pace"
