"""What stands beside the button while the teacher lets nobody launch: no error, since nobody here can mend it."""

from __future__ import annotations

import streamlit as st

from app import navigation
from app.room import who


def draw() -> None:
    """Who has closed it, what goes on, and what to do meanwhile."""
    if who.has_ended():
        st.info("The teacher has ended the room: nothing more is launched in it.", icon=":material/door_front:")
        navigation.link("room", "Take your runs home")
    else:
        st.info(
            "The teacher has closed launching for now. What is queued goes on. This page takes notice by itself when "
            "launching opens; what you have chosen stays.",
            icon=":material/pause_circle:",
        )
    st.caption("Meanwhile there is much to look at:")
    with st.container(horizontal=True):
        navigation.link("runs", "Runs")
        navigation.link("atlas", "Recorded examples")
        navigation.link("learn", "Lessons")
