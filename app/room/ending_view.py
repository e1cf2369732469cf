"""The end of a room: for the teacher the act and its way back, and what everybody takes home."""

from __future__ import annotations

import streamlit as st

from app import errors, state, words
from app.room import greeting, take_home, who
from peftcore.engine.room import ending
from peftcore.store import WAITING

SECONDS = 2.0


def draw() -> None:
    """For the teacher."""
    since = ending.ended(greeting.room())
    st.header("End the room" if since is None else f"The room ended {words.age(since)}", anchor=False)
    if since is None:
        st.markdown(
            "Launching closes. Every run that works or waits is stopped, your own too, and says why. Everybody reads "
            "that the room has ended and how to take their runs home, and can still look at everything. It can be "
            "opened again."
        )
        with st.popover("End the room", icon=":material/door_front:"):
            st.markdown(f"{_runs(len(_busy()))}.")
            st.button("End it now", key="room_end", type="primary", on_click=_end)
    else:
        st.fragment(_stopping, run_every=SECONDS if _busy() else None)()
    st.header("Take it home", anchor=False)
    take_home.draw(None)


def reopen() -> None:
    """The button that opens the room again."""
    st.button("Open the room again", key="room_reopen", icon=":material/meeting_room:", on_click=_reopen)


def _stopping() -> None:
    busy = _busy()
    st.markdown(
        "Launching is closed, and everybody reads how to take their runs home. When you open the room again, owners "
        "can resume the runs that were stopped."
    )
    if busy:
        st.caption(f"{_runs(len(busy))}: pack when they have.")


def _runs(many: int) -> str:
    return (
        "No run works or waits: none stops" if not many else "1 run stops now" if many == 1 else f"{many} runs stop now"
    )


def _busy() -> list[int]:
    return [record.id for record in state.whole_store().runs(status=WAITING)]


def _end() -> None:
    with errors.sentences(stop=False):
        ending.end(who.room(), state.engine())


def _reopen() -> None:
    with errors.sentences(stop=False):
        ending.reopen(who.room())
