"""What Back and Forward of the browser come to: pages, and the places of a page.

Streamlit makes an entry of the browser's history for each change of the address, and `st.switch_page` one more, with
the next page's names on this page's address. The script below makes it one for each page and, of pages with several
places (`PLACES`), for each place; all else replaces the address. What it cannot mend: a change that is written before
the script is there, in the first second after the app was opened, makes an entry as Streamlit does.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import streamlit as st

PLACES = {"runs": ("run", "race"), "tasks": ("task", "view")}  # by page, the names that are a place to come back to

_JS = """
export default function ({ data }) {
  const { pushState, replaceState } = History.prototype, known = window.headroomAddress;
  if (!location.pathname.replace(/\\/$/, "").endsWith(data.page)) return;
  const view = { path: location.pathname, query: data.query ? "?" + data.query : "", places: data.places };
  window.headroomAddress = view;
  if (!known) {
    history.pushState = function (state, title, url) {
      const view = window.headroomAddress, to = new URL(url, location.href).pathname;
      if (to === location.pathname) return replaceState.call(history, state, title, url);
      if (view.path === location.pathname) replaceState.call(history, history.state, "", view.path + view.query);
      pushState.call(history, state, title, url);
    };
  } else if (known.path === view.path && known.places < view.places) {
    replaceState.call(history, history.state, "", known.path + known.query);
    pushState.call(history, {}, "", view.path + view.query);
  }
}
"""
_script = st.components.v2.component("address_history", js=_JS)


def hidden_place() -> Any:
    """An empty place of the page, out of sight, for the script."""
    st.html("<style>.st-key-address_history {display: none}</style>")
    with st.container(key="address_history"):
        return st.empty()


def mirror(place: Any, page: str, shows: dict[str, list[str]], places: int) -> None:
    """Tells the script what the page shows, and how many places of this session had an entry of the history."""
    with place:
        _script(data={"page": page, "query": urlencode(shows, doseq=True), "places": places})
