"""A page that takes notice by itself: it is drawn again as soon as the teacher changes what may be launched."""

from __future__ import annotations

from collections.abc import Hashable

import streamlit as st

from app.room import is_room, who

SECONDS = 3.0


def watch() -> None:
    """Within no other fragment. Alone it does nothing."""
    if is_room() and not who.is_teacher():
        st.fragment(_look, run_every=SECONDS)(_seen())


def _look(seen: Hashable) -> None:
    if _seen() != seen:
        st.rerun()


def _seen() -> Hashable:
    now = who.settings()
    return now.launching, now.paused, now.free, str(now.pinned), who.has_ended()
