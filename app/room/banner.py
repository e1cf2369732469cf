"""What the teacher says to all, above every page; it comes and goes without a reload."""

from __future__ import annotations

import streamlit as st

from app import errors, navigation
from app.room import is_room, who

SECONDS = 10.0


def draw(page: str) -> None:
    """Nothing alone; in a room the message, and whether launching is closed, the queue is held or the room has ended,
    which its own page says itself."""
    if is_room():
        with st.container(key="room_banner"):
            st.fragment(_banner, run_every=SECONDS)(page)


def _banner(page: str) -> None:
    if who.me() is None:
        st.rerun()  # removed meanwhile: the whole page says so
    now = who.settings()
    if now.message:
        st.info(errors.plain(now.message), icon=":material/campaign:")
    if who.has_ended():
        if page == "room":
            return
        st.info("The teacher has ended the room. You can still look at everything.", icon=":material/door_front:")
        navigation.link("room", "Take home what was done here", part="archive" if who.is_teacher() else None)
        return
    said = ["The teacher has closed launching."] if not now.launching else []
    if now.paused:
        said.append("The queue is paused: runs that wait begin when the teacher lets it go on.")
    if said:
        st.caption(":material/pause_circle: " + " ".join(said))
