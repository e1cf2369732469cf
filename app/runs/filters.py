"""Search and filters of the list of runs: what they say stands in the address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import streamlit as st

from app import glossary, links, words
from app.state import store
from peftcore.figures.method_style import method_title
from peftcore.store import listing
from peftcore.store.listing import Filter, Shelf

LISTS = {"status": "statuses", "method": "methods", "task": "tasks", "tag": "tags"}  # of Filter: name in the address
NAMES = ("q", *LISTS.values(), "star", "shelf")
SHELVES: dict[Shelf, str] = {"current": "Current", "archived": "Archive", "deleted": "Deleted"}
HELP = (
    "Words that all occur in a run's name, note, tags, method, task, backbone, status or owner; a run's number; or a "
    "setting and its value: `rank=8`, `seed=3`."
)
_LAST = "runs_filter"  # in the session: the filter that the page of the list is a page of


def asked() -> Filter:
    """What the address asks for; what it says and is no filter counts as not said."""
    lists = {name: tuple(filter(None, links.listed(code))) for name, code in LISTS.items()}
    shelf: Shelf = next((one for one in SHELVES if one == links.read("shelf")), "current")
    for name in [name for name, said in lists.items() if said == ("none",)]:  # older links' empty choice, or a tag
        lists[name] = ("none",) if "none" in listing.facets(store(), shelf)[name] else ()
    return Filter(links.read("q") or "", starred=links.read("star") == "1", shelf=shelf, **lists)


def draw() -> Filter:
    """The search field and the filters beside it."""
    wanted = asked()
    active = sum(map(bool, (*(getattr(wanted, name) for name in LISTS), wanted.starred, wanted.shelf != "current")))
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="runs_search"):
        st.text_input(
            "Search runs", links.show("runs_q", wanted.text), key="runs_q", placeholder="Search", type="search",
            label_visibility="collapsed", help=glossary.linked(HELP), on_change=_keep, max_chars=200,
        )  # fmt: skip
        with st.popover(
            str(active or ""), icon=":material/filter_list:", type="tertiary", help="Filters", key="runs_filters",
            on_change="rerun",
        ) as filters:  # fmt: skip
            if filters.open:
                _filters(wanted)
    wanted = asked()
    if st.session_state.get(_LAST, wanted) != wanted:
        links.write(list=None)
    st.session_state[_LAST] = wanted
    return wanted


def _keep() -> None:
    links.write(q=st.session_state["runs_q"].strip() or None, list=None)


def _filters(wanted: Filter) -> None:
    known = listing.facets(store(), wanted.shelf)
    counts = known["shelf"]
    links.choice(
        st.segmented_control, "runs", "shelf", "Which runs", list(SHELVES), default="current",
        show=lambda one: f"{SHELVES[one]} {counts[one]:,}", label_visibility="collapsed",
    )  # fmt: skip
    st.toggle("Starred only", links.show("runs_star", wanted.starred), key="runs_star", on_change=_keep_star)
    for name, code in LISTS.items():
        if options := [*known[name], *(one for one in getattr(wanted, name) if one not in known[name])]:
            links.several("runs", code, name.capitalize(), options, default=(), show=_shown(name, known[name]))
    st.button("Clear", key="runs_no_filters", type="tertiary", icon=":material/filter_list_off:", on_click=clear)


def _shown(name: str, counts: Counter[str]) -> Callable[[str], str]:
    titles: dict[str, Callable[[str], str]] = {"method": method_title, "task": words.task_title}

    def show(value: str) -> str:
        title = titles.get(name, str)(value)
        return f"{title} ({counts[value]:,})"

    return show


def _keep_star() -> None:
    links.write(star="1" if st.session_state["runs_star"] else None, list=None)


def clear() -> None:
    """Takes all filters and the search out of the address."""
    links.write(**dict.fromkeys((*NAMES, "list")))
