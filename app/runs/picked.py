"""Runs that are picked in the list, on whatever page of it they stand: to compare them, or to put them away."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import navigation, state
from app.compare.entries import LEAST, MOST
from app.runs import put_away
from peftcore.errors import NotYours, UnknownName

_PICKED = "runs_picked"  # in the session


def runs() -> list[int]:
    """In the order in which they were picked."""
    return st.session_state.setdefault(_PICKED, [])


def box(key: str, label: str, of: Sequence[int]) -> None:
    """The check box of an entry of the list: a run, or all runs of a race."""
    st.session_state[key] = set(of) <= set(runs())
    st.checkbox(label, key=key, label_visibility="collapsed", on_change=_turn, args=(key, list(of)))


def _turn(key: str, of: list[int]) -> None:
    others = [run for run in runs() if run not in of]
    st.session_state[_PICKED] = [*others, *of] if st.session_state[key] else others


def bar() -> None:
    """What can be done with the runs that are picked."""
    known = []
    for run in runs():
        try:
            known.append(state.store().run(run))
        except (UnknownName, NotYours):  # purged meanwhile, or no longer theirs to look at
            continue
    if not known:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="runs_picked_bar"):
        count = len(known)
        if LEAST <= count <= MOST:
            navigation.link("compare", f"Compare {count}", runs=",".join(str(record.id) for record in known))
        elif count < LEAST:
            st.caption("Pick another to compare.", width="content")
        else:
            st.caption(f"{count} picked; at most {MOST} are compared.", width="content")
        with st.popover("", icon=":material/more_vert:", type="tertiary", help="More to do with them"):
            put_away.buttons(known, "picked")
        st.button("Clear", key="runs_unpick", type="tertiary", on_click=runs().clear)
