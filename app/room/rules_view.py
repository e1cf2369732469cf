"""What the teacher sets for all: launching, the queue, who looks at what, a pinned recipe, a message."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import errors, navigation, state, words
from app.launch import request
from app.room import ending_view, who
from peftcore.engine.room import LOOKING
from peftcore.spec import RunSpec

MOST_OFFERED = 60  # newest runs whose recipe can be pinned
LONGEST = 500  # characters of a message


def switches() -> None:
    """The two that are in haste."""
    now = who.settings()
    if who.has_ended():
        return ending_view.reopen()
    st.button(
        "Close launching" if now.launching else "Open launching", key="room_launching",
        icon=":material/block:" if now.launching else ":material/rocket_launch:", on_click=_set,
        kwargs={"launching": not now.launching},
    )  # fmt: skip
    st.button(
        "Let the queue go on" if now.paused else "Pause the queue", key="room_paused",
        icon=":material/play_circle:" if now.paused else ":material/pause_circle:", on_click=_set,
        kwargs={"paused": not now.paused},
    )  # fmt: skip


def draw() -> None:
    """The rest."""
    now = who.settings()
    key = "room_message"
    st.text_area(
        "Message to all", now.message, key=key, max_chars=LONGEST, placeholder="Stands above every page",
        on_change=lambda: _set(message=st.session_state[key].strip()),
    )  # fmt: skip
    st.radio(
        "Participants look at", list(LOOKING), key="room_looking", index=list(LOOKING).index(now.looking),
        format_func=LOOKING.__getitem__, horizontal=True,
        on_change=lambda: _set(looking=st.session_state["room_looking"]),
    )  # fmt: skip
    st.header("Pinned recipe", anchor=False)
    if now.pinned:
        st.markdown(f":material/push_pin: **{errors.plain(words.run_title(now.pinned))}**")
        with st.container(horizontal=True, vertical_alignment="center"):
            link_to_pinned()
            st.button("Let everything vary", key="room_unpin", on_click=_set, kwargs={"pinned": None, "free": ()})
    records = state.store().runs(limit=MOST_OFFERED)
    if not records and not now.pinned:
        st.caption("Launch a run with the recipe first; then it can be pinned here.")
        return
    specs: dict[str, Any] = {f"Run {r.id}: {words.run_title(r.spec)}": r.spec for r in records}
    if now.pinned:
        specs = {"As it is pinned": dict(now.pinned)} | specs
    with st.form("room_pin", border=False):
        chosen = st.selectbox("Recipe", list(specs), key="room_pin_run")
        names = vary(list(specs.values()))
        free = st.multiselect(
            "What may vary", names, default=[name for name in now.free if name in names], key="room_pin_free",
            help="Fields of a run, and settings of its method. `method` lets another method be taken.",
        )  # fmt: skip
        if st.form_submit_button("Pin", icon=":material/push_pin:", type="primary"):
            with errors.sentences():  # a run of an earlier version lacks settings, which a new one has by default
                _set(pinned=RunSpec.of(specs[chosen]).to_dict(), free=tuple(free))
            st.rerun()


def vary(specs: list[dict[str, Any]]) -> list[str]:
    """Names of what these specs may be left free in."""
    settings = {f"method.{name}" for spec in specs for name in spec["method"] if name != "name"}
    return ["method", *(name for name in RunSpec.model_fields if name != "method"), *sorted(settings)]


def link_to_pinned() -> None:
    """To the launch page with the recipe in its form."""
    if pinned := who.settings().pinned:
        query: dict[str, Any] = request.to_query(pinned)
        navigation.link("launch", "Launch with it", **query)


def remind() -> None:
    """On the launch page, for a participant: that a recipe is pinned, and what may vary."""
    now = who.settings()
    if now.pinned and not who.is_teacher():
        free = errors.plain(", ".join(now.free)) or "nothing"
        st.caption(f":material/push_pin: The teacher has pinned a recipe; what may vary: {free}.")
        link_to_pinned()


def _set(**values: Any) -> None:
    with errors.sentences(stop=False):
        who.room().set(**values)
        if values.get("paused") is False:
            state.engine().wake()
