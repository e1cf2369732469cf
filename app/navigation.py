"""The pages of the app, one line each: file, title, icon. The first is the page at `/`.

A page's address is its file's name. It is given nowhere else: with an address of its own, `st.switch_page` by file
falls back to the first page without a word.
"""

from __future__ import annotations

from typing import Any

import streamlit as st

from app import errors
from app.room import is_room

PAGES = {
    "home": ("Home", ":material/home:"),
    "room": ("Room", ":material/groups:"),
    "learn": ("Learn", ":material/school:"),
    "tasks": ("Tasks", ":material/category:"),
    "launch": ("Launch", ":material/rocket_launch:"),
    "runs": ("Runs", ":material/monitoring:"),
    "compare": ("Compare", ":material/compare_arrows:"),
    "experiments": ("Experiments", ":material/science:"),
    "methods": ("Methods", ":material/functions:"),
    "try_it": ("Try it", ":material/photo_camera:"),
    "atlas": ("Atlas", ":material/apps:"),
    "heads": ("Heads", ":material/grid_on:"),
    "attention": ("Attention", ":material/visibility:"),
    "attribution": ("Attribution", ":material/center_focus_strong:"),
    "xray": ("X-ray", ":material/radiology:"),
    "memory": ("Memory", ":material/memory:"),
    "glossary": ("Glossary", ":material/dictionary:"),
}
# What stands together in the navigation; a page that is in none of these stands by itself.
SECTIONS = {
    "Learn": ("learn", "methods", "experiments", "glossary"),
    "Train": ("launch", "runs", "compare", "tasks", "try_it"),
    "Look inside": ("atlas", "heads", "attention", "attribution", "xray", "memory"),
}


def path(name: str) -> str:
    """The file of a page, as `st.switch_page` and `st.page_link` take it."""
    if name not in PAGES:
        raise KeyError(f"no page {name!r}; there are {', '.join(PAGES)}")
    return f"pages/{name}.py"


def pages() -> dict[str, list[st.Page]]:
    """What `st.navigation` takes: pages by section, those of none first."""
    first, hidden = next(iter(PAGES)), () if is_room() else ("room",)
    made = {
        name: st.Page(
            path(name), title=title, icon=icon, default=name == first,
            visibility="hidden" if name in hidden else "visible",
        )
        for name, (title, icon) in PAGES.items()
    }  # fmt: skip
    inside = {name for names in SECTIONS.values() for name in names}
    alone = [page for name, page in made.items() if name not in inside]
    return {"": alone} | {title: [made[name] for name in names] for title, names in SECTIONS.items()}


def link(name: str, label: str | None = None, *, icon: str | None = None, bold: bool = False, **query: Any) -> None:
    """A link to a page with query parameters; None values are left out. `icon`: by default the page's own. The label is
    no markup."""
    title, own = PAGES[name]
    text = errors.plain(label or title)
    st.page_link(path(name), label=f"**{text}**" if bold else text, icon=icon or own, query_params=_texts(query))


def go(name: str, **query: Any) -> None:
    """Switch to a page with query parameters. Nothing after it runs."""
    st.switch_page(path(name), query_params=_texts(query))


def _texts(query: dict[str, Any]) -> dict[str, str | list[str]]:
    """Lists stay lists: the address repeats their name."""
    return {key: value if isinstance(value, list) else str(value) for key, value in query.items() if value is not None}
