"""The page of the room: for the teacher everything, for a participant what concerns all."""

from __future__ import annotations

import streamlit as st

from app import captions, errors, links, navigation, state
from app.room import (
    challenge_view,
    ending_view,
    entrance,
    greeting,
    is_room,
    noticing,
    overview,
    people,
    rules_view,
    take_home,
    who,
)
from peftcore.engine.room import LOOKING, challenge

PARTS = {"people": "People", "rules": "Rules", "challenge": "Challenge", "archive": "End and take home"}


def draw() -> None:
    """The page."""
    if not is_room():
        return _alone()
    person = who.me()
    assert person is not None, "admitted"
    if not person.is_teacher:
        return _participant(person.name)
    st.title("Who is doing what in this room?")
    with st.container(horizontal=True, vertical_alignment="center"):
        part = links.choice(
            st.segmented_control, "room", "part", "part", list(PARTS), default="people", show=PARTS.__getitem__,
            label_visibility="collapsed",
        )  # fmt: skip
        rules_view.switches()
        for label, shows in (("Project the room", "room"), ("Project the leaderboard", "board")):
            navigation.link("room", label, icon=":material/slideshow:", view="projector", shows=shows)
    match part:
        case "people":
            _people()
        case "rules":
            rules_view.draw()
        case "challenge":
            challenge_view.board()
            challenge_view.manage()
        case "archive":
            ending_view.draw()


def _people() -> None:
    left, right = st.columns([4, 1], gap="medium")
    with left:
        overview.draw()
        with st.container(horizontal=True, vertical_alignment="center"):
            captions.caption(
                "Best: the highest validation accuracy of somebody's finished runs. The small curve: validation "
                "accuracy by epoch of the run that works, else of the best one."
            )
            st.download_button(
                "Table (CSV)", overview.csv, file_name="room.csv", mime="text/csv", key="room_csv",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        people.draw()
    with right:
        entrance.draw()


def _participant(name: str) -> None:
    noticing.watch()
    if who.has_ended():
        st.title("The room has ended")
        st.markdown(
            f"You are **{errors.plain(name)}**. Nothing more is launched, and what worked or waited was stopped; you "
            "can still look at everything. Take your runs home below."
        )
        _own_runs(name)
        if challenge.challenge(greeting.room()):
            challenge_view.board()
    else:
        st.title("What is this room doing?")
        looked_at = LOOKING[who.settings().looking].replace("their", "your")
        st.markdown(
            f"You are **{errors.plain(name)}**. What you launch is yours: others never stop, change or delete it. "
            f"In this room you can look at {looked_at}."
        )
        rules_view.remind()
        challenge_view.board()
        _own_runs(name)
    st.caption("On a machine that others use after you, leave the room; its code lets you in under another name.")
    st.html(
        '<form method="post" action="/leave"><button style="font:inherit;color:inherit;background:none;cursor:pointer;'
        'border:1px solid rgba(128,128,128,.4);border-radius:.4rem;padding:.4rem .9rem">Leave the room'
        "</button></form>"
    )


def _own_runs(name: str) -> None:
    st.header("Your runs", anchor=False)
    mine = state.store().runs(limit=200, owner=name)
    if mine:
        navigation.link("runs", f"Your {len(mine)} runs" if len(mine) > 1 else f"Run {mine[0].id}", run=mine[0].id)
        take_home.draw(name)
    elif who.has_ended():
        st.caption("You have launched nothing, so there is nothing to take home.")
    else:
        st.caption("You have launched nothing yet.")
        navigation.link("launch", "Launch a run")


def _alone() -> None:
    st.title("Is anybody else here?")
    st.markdown(
        "This Headroom is yours alone: nobody has a name, and nothing asks for one. As a *room* others open it in "
        "their browsers; each has a name, runs of their own and a fair turn, and you see what everybody does."
    )
    st.code("make app HOST=0.0.0.0", language="bash")
    st.caption("The terminal then shows the room's code and two links, one for all and one for the teacher.")
