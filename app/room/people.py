"""What the teacher does with one person: stop their runs, lift their limits, remove them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import errors, navigation, state
from app.room import greeting, overview, who
from peftcore.engine.room import Person
from peftcore.store import WAITING

STOP_TOO = "room_remove_stop"  # a key
MANY = 20  # who have launched nothing, from which they can be removed together


def draw() -> None:
    """A choice of one person, and the buttons."""
    people = [person for person in greeting.room().now().people.values() if not person.is_teacher]
    if not people:
        st.caption("Nobody has entered yet. Show the code, or the picture with the link.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("With one person:", width="content")
        chosen = st.selectbox(
            "With one person", people, key="room_person", format_func=lambda one: one.name, width=240,
            label_visibility="collapsed",
        )  # fmt: skip
        person = next((one for one in people if one.id == chosen.id), people[0])
        records = state.whole_store().runs(owner=person.name)
        busy = [record.id for record in records if record.status in WAITING]
        st.button(
            f"Stop all {len(busy)} runs" if len(busy) > 1 else "Stop their run", key="room_stop", disabled=not busy,
            icon=":material/stop_circle:", on_click=_stop, args=(busy,),
        )  # fmt: skip
        st.button(
            "Set limits again" if person.lifted else "Lift limits", key="room_lift", icon=":material/lock_open:",
            on_click=_lift, args=(person,), help="How many runs they may have waiting, and how large they may be.",
        )  # fmt: skip
        if records:
            navigation.link("runs", f"Run {records[0].id}", run=records[0].id)
        if person.removed is None:
            with st.popover("Remove", icon=":material/person_remove:"):
                st.markdown(
                    f"**{errors.plain(person.name)}** leaves the room at once. Their runs stay under their name"
                    + (", and what works or waits goes on to its end." if busy else ".")
                    + " Draw a new code if they are not to come back under another name."
                )
                if busy:
                    many = f"their {len(busy)} runs that work or wait" if len(busy) > 1 else "their run"
                    st.checkbox(f"Stop {many} as well", key=STOP_TOO)
                st.button("Remove", key="room_remove", type="primary", on_click=_remove, args=(person, True, busy))
        else:
            st.button(
                "Let in again", key="room_restore", icon=":material/person_add:", on_click=_remove,
                args=(person, False),
            )  # fmt: skip
    idle = [row.person.id for row in overview.progress() if row.person and row.newest is None]
    if len(idle) > MANY:
        with st.popover(f"Remove {len(idle)} people", icon=":material/group_remove:", type="tertiary"):
            st.markdown(
                f"{len(idle)} people have launched nothing; they leave the room at once. Where somebody fills it with "
                "names, draw a new code as well."
            )
            st.button("Remove them", key="room_remove_idle", type="primary", on_click=_remove_all, args=(idle,))


def _remove_all(people: list[str]) -> None:
    for id in people:
        with errors.sentences(stop=False):
            who.room().remove(id)


def _stop(runs: Sequence[int]) -> None:
    with errors.sentences(stop=False):
        for run in runs:
            state.engine().cancel(run)


def _lift(person: Person) -> None:
    with errors.sentences(stop=False):
        who.room().lift(person.id, not person.lifted)


def _remove(person: Person, gone: bool, busy: Sequence[int] = ()) -> None:
    with errors.sentences(stop=False):
        who.room().remove(person.id, gone)
        if gone and st.session_state.pop(STOP_TOO, False):
            _stop(busy)
