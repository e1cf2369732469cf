"""Every view is a link: what is chosen stands in the address, and widgets follow it.

The address is the only truth. Before a widget is drawn it is set to what the address says, and what a reader changes
is written back, so a link, a reload and a click give one view. Streamlit's own `bind="query-params"` writes a widget's
label into the address; here a short code stands for it (`run=12`, `layer=5`), and clicks on figures use the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import streamlit as st

T = TypeVar("T")
LAG = 2.0  # seconds within which a browser may still send an address that it has not been told to change


class Written(NamedTuple):
    """What a name was last set to, what the address said of it shortly before, and when it was set."""

    value: str | None
    before: frozenset[str | None]
    when: float


def read(name: str) -> str | None:
    """What the address says of `name`, or None.

    A click sends the address that the browser knows. Where one click follows another before the first one's change has
    reached the browser, that address is older than what was written here, which then counts.
    """
    said = st.query_params.get(name) or None
    last = _written().get(name)
    if last and said in last.before and monotonic() - last.when < LAG:
        _put(name, last.value)
        return last.value
    return said


def write(**values: object) -> None:
    """Puts values into the address; None takes a name out of it."""
    for name, value in values.items():
        before, value = st.query_params.get(name) or None, None if value is None else str(value)
        if before != value:
            last = _written().get(name)
            recent = last.before if last and monotonic() - last.when < LAG else frozenset()
            _written()[name] = Written(value, (recent | {before}) - {value}, monotonic())
            _put(name, value)


def settle() -> None:
    """For a page with links to itself: such a link reaches the script and not the address, where the next click finds it."""
    said = {name: st.query_params.get_all(name) for name in st.query_params}
    if st.session_state.get("links_settled") != said:
        st.session_state["links_settled"] = said
        st.query_params.from_dict(said)


def _put(name: str, value: str | None) -> None:
    if value is not None:
        st.query_params[name] = value
    elif name in st.query_params:
        del st.query_params[name]


def _written() -> dict[str, Written]:
    """By name, what was written on this page; a link to another page brings an address of its own."""
    page = urlsplit(st.context.url or "").path
    return st.session_state.setdefault("links_written", {}).setdefault(page, {})


def number(name: str, low: int, high: int, default: int) -> int:
    """A whole number from the address, drawn into `low` to `high`; `default` where there is none."""
    try:
        return min(max(int(read(name) or default), low), high)
    except ValueError:
        return default


def patch(name: str, grid: tuple[int, int], default: tuple[int, int] | None) -> tuple[int, int] | None:
    """A patch 'row-column', both counted from 1, as (row, column) from 0; 'class' is None, the class token."""
    text = read(name)
    if text == "class":
        return None
    try:
        row, column = (int(part) - 1 for part in (text or "").split("-"))
    except ValueError:
        return default
    return (min(max(row, 0), grid[0] - 1), min(max(column, 0), grid[1] - 1))


def choice(
    widget: Callable[..., Any],
    page: str,
    name: str,
    label: str,
    options: Sequence[T],
    *,
    default: T,
    show: Callable[[T], str] = str,
    code: Callable[[T], str] = str,
    **settings: Any,
) -> T:
    """A widget of one choice (`st.selectbox`, `st.segmented_control`, ...) whose value is `name` in the address.

    `show` is how an option reads, `code` how the address writes it. What the address says and is no option counts as
    not said. The widget's key is '{page}_{name}'.
    """
    key = f"{page}_{name}"
    said = {code(option): option for option in options}
    st.session_state[key] = said.get(read(name) or "", default)

    def keep() -> None:
        if st.session_state[key] is not None:  # a segment that is clicked again lets go of itself
            write(**{name: code(st.session_state[key])})

    widget(label, options, key=key, format_func=show, on_change=keep, **settings)
    return said.get(read(name) or "", default)


def several(
    page: str,
    name: str,
    label: str,
    options: Sequence[str],
    *,
    default: Sequence[str],
    show: Callable[[str], str] = str,
    **settings: Any,
) -> list[str]:
    """`st.multiselect` whose values stand in the address with commas between; 'none' is the empty choice."""
    key = f"{page}_{name}"
    parts = (read(name) or "").split(",")
    said = [part for part in parts if part in options] or ([] if parts == ["none"] else list(default))
    st.session_state[key] = said

    def keep() -> None:
        write(**{name: ",".join(st.session_state[key]) or "none"})

    st.multiselect(label, options, key=key, format_func=show, on_change=keep, **settings)
    return said


def clicked(key: str) -> list | None:
    """The `customdata` of the point that was clicked in the figure with this key; None where a click took it back."""
    points = st.session_state[key]["selection"]["points"]
    return list(points[0]["customdata"]) if points else None
