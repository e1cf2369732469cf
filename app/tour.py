"""A tour of the app in six steps: offered once to each browser, on Home, and never again once it was begun or declined.

The browser keeps that in its local storage; a small component says so. While the tour is on, the page of each step says
at its top what to look at there, and leads on.
"""

from __future__ import annotations

import streamlit as st

from app import navigation

STEPS = {
    "home": "These squares are attention heads: layers upwards, heads across. The brighter, the more a task moved it. "
    "Click one to look through it.",
    "learn": "Lessons explain the three papers in a few minutes each: you predict, then you see. Nothing has to be "
    "trained.",
    "launch": "Choose a backbone, a method and a task. The bill says what it will take before you press Launch.",
    "runs": "What was launched trains here, live: loss, accuracy, memory. A run goes on when you leave the page.",
    "heads": "What did a run change? Point at a head, choose an image, and see where the head looks.",
    "memory": "Why does it fit? One training step, byte by byte: weights, gradients, optimizer, kept activations.",
}
_ON, _OVER = "tour_on", "tour_over"  # in the session
_SEEN = "tour_seen"

_JS = """
export default function ({ data, setStateValue }) {
  const key = "headroom.tour";
  try {
    if (data.over) localStorage.setItem(key, "over");
    else if (!data.told) setStateValue("seen", localStorage.getItem(key) || "never");
  } catch { if (!data.told) setStateValue("seen", "over"); }
}
"""
_browser = st.components.v2.component("tour_in_browser", js=_JS)


def draw(page: str) -> None:
    """At the top of each page: the offer on Home, or the step of this page while the tour is on."""
    state = st.session_state
    if page in ("", "home"):
        page = "home"
        _ask_browser()
        if not state.get(_ON) and not state.get(_OVER) and state.get(_SEEN) == "never":
            _offer()
    if state.get(_ON) and page in STEPS:
        _step(page)


def _ask_browser() -> None:
    """What this browser knows of the tour, once a session; "never" where it has not seen it."""
    state = st.session_state
    over = bool(state.get(_ON) or state.get(_OVER))
    with st.container(key="screen_tour"):
        data = {"over": over, "told": _SEEN in state}
        said = _browser(key="tour_told", data=data, default={"seen": ""}, on_seen_change=lambda: None)
    if said.seen:
        state[_SEEN] = said.seen


def _offer() -> None:
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="tour_offer"):
        st.markdown(":material/tour: **New here?** Six steps show what there is, in two minutes.", width="stretch")
        st.button("Take the tour", key="tour_begin", type="primary", on_click=_set, args=(_ON, True))
        st.button("No, thanks", key="tour_decline", type="tertiary", on_click=_set, args=(_OVER, True))


def _step(page: str) -> None:
    names = list(STEPS)
    at = names.index(page)
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="tour_step"):
        title, _ = navigation.PAGES[page]
        st.markdown(f":material/tour: **{at + 1} of {len(names)}: {title}.** {STEPS[page]}", width="stretch")
        if at + 1 < len(names):
            following = names[at + 1]
            navigation.link(following, f"Next: {navigation.PAGES[following][0]}", icon=":material/arrow_forward:")
        st.button("End the tour" if at + 1 < len(names) else "Done", key="tour_end", type="tertiary", on_click=_end)


def _set(name: str, value: bool) -> None:
    st.session_state[name] = value


def _end() -> None:
    _set(_ON, False)
    _set(_OVER, True)
