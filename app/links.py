"""Every view is a link: what is chosen stands in the address, and widgets follow it.

What a page shows is kept with the session, as names and texts. It begins as the address with which the page was opened.
Before a widget is drawn it is set to it, what a reader changes is written to it, and the address follows. So a link, a
reload and a click give one view. A short code stands for what a widget holds (`run=12`, `layer=5`), and clicks on
figures use the same names.

A click sends the address that the browser has at that moment. Where one click follows another before the first one's
change has come to the browser, that address is an older one, so an address is followed only if it is a new one: neither
the one that the browser sent last nor one that was written since. Back and Forward say that they are such, and are
always followed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from app import browser_history, errors, figure, repeated

T = TypeVar("T")
Query = dict[str, list[str]]
_VIEW = "links_view"  # in the session


@dataclass
class View:
    """A page as it was opened: what it shows, and what the browser knows of it."""

    page: str
    shows: Query
    sent: Query  # the address that the browser sent last
    written: list[Query] = field(default_factory=list)  # addresses since then, which it may not have yet
    is_new: bool = True  # in the run of the script in which it was opened by a link
    places: int = 0  # how many places of this session had an entry of the history
    place: Any = None  # of the component, in this run of the script


def receive(page: str) -> None:
    """Takes in the address that the browser sent, at the beginning of each run of the script. `page`: its name."""
    sent, view, context = _in_browser(), st.session_state.get(_VIEW), get_script_run_ctx()
    back = bool(context and context.is_history_navigation)
    if view is None or view.page != page or back:
        view = View(page, sent, sent, is_new=not back, places=view.places if view else 0)
    elif sent == view.sent:
        view.is_new = False
    elif sent in view.written:
        view.is_new, view.sent = False, sent
        del view.written[: view.written.index(sent) + 1]
    else:  # a link of this page to itself, which comes to the script and not to the address
        view = View(page, sent, sent, places=view.places + 1)
        st.query_params.from_dict(sent)
    st.session_state[_VIEW] = view
    view.place = browser_history.hidden_place()
    _flush(view)
    _mirror(view)


def _in_browser() -> Query:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def _view() -> View:
    if _VIEW not in st.session_state:
        st.session_state[_VIEW] = View("", _in_browser(), _in_browser())
    return st.session_state[_VIEW]


def _flush(view: View) -> None:
    """Makes the address what the page shows."""
    if _in_browser() != view.shows:
        st.query_params.from_dict(view.shows)
        view.written.append(view.shows)


def _mirror(view: View) -> None:
    browser_history.mirror(view.place, view.page, view.shows, view.places)


def send() -> None:
    """Puts what was written while the page was drawn into the address, all at once, at the end of each run."""
    view = _view()
    if _in_browser() != view.shows:
        _flush(view)
        _mirror(view)


def read(name: str) -> str | None:
    """What the page shows of `name`, or None."""
    return (texts(name) or [""])[-1] or None


def texts(name: str) -> list[str]:
    """All that the page shows of `name`: a list's name is repeated in the address; an empty one is one empty text."""
    return list(shown().get(name, ()))


def listed(name: str) -> list[str]:
    """The values of a list that stands as one text, with commas between them as in a line of CSV; none of what is no
    such line."""
    try:
        return next(csv.reader([read(name) or ""]), [])
    except csv.Error:
        return []


def joined(values: Sequence[str]) -> str:
    """What `listed` reads: a value with a comma in it stands in quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(values)
    return line.getvalue()


def shown() -> Query:
    """All that the page shows."""
    view, context = _view(), get_script_run_ctx()
    if context and context.has_script_started and context.fragment_ids_this_run:
        _flush(view)  # a fragment's run does not begin with `receive`
    return view.shows


def is_new() -> bool:
    """Whether the page was opened just now by a link, and not by Back or Forward."""
    return _view().is_new


def write(**values: object) -> None:
    """Changes what the page shows; None takes a name out, a list repeats it. `receive` or `send` moves the address."""
    view = _view()
    shows = {name: texts for name, texts in view.shows.items() if values.get(name, "") is not None}
    for name, value in values.items():
        if value is not None:
            shows[name] = [str(part) for part in value] if isinstance(value, (list, tuple)) else [str(value)]
    if any(shows.get(name) != view.shows.get(name) for name in browser_history.PLACES.get(view.page, ())):
        view.places += 1
    view.shows = shows


def show(key: str, value: T) -> T:
    """Sets a text field to a value where it holds another: a field that holds it already keeps what is being typed.

    Returns the value, which is to be the field's default as well: where the run that set it was interrupted before the
    browser had the field, the next run finds it set already, and the browser takes the default.
    """
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return value


def number(name: str, low: int, high: int, default: int) -> int:
    """A whole number from the address, clipped to `low` to `high`; `default` where it names none."""
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
    marked: bool = False,
    clears: Sequence[str] = (),
    **settings: Any,
) -> T:
    """A widget of one choice (`st.selectbox`, `st.segmented_control`, ...) whose value is `name` in the address.

    `show` is how an option reads, `code` how the address writes it; `marked`: what `show` returns is Markdown. What the
    address says and is no option counts as not said. `clears`: names whose values were of the option before, and go
    with it. The widget's key is '{page}_{name}'.
    """
    key = repeated.key_of(f"{page}_{name}")
    said = {code(option): option for option in options}
    chosen = st.session_state[key] = said.get(read(name) or "", default)

    def keep() -> None:
        if st.session_state[key] is not None:  # a segment that is clicked again lets go of itself
            write(**{name: code(st.session_state[key]), **dict.fromkeys(clears)})

    # A select box shows what its options say; the others take it for Markdown.
    shown = show if marked or widget is st.selectbox else lambda option: errors.plain(show(option))
    settings |= {"wrap": True} if widget is st.segmented_control else {}  # on a phone none is out of sight
    widget(label, options, key=key, format_func=shown, on_change=keep, **settings)
    return chosen


def several(
    page: str,
    name: str,
    label: str,
    options: Sequence[str],
    *,
    default: Sequence[str],
    show: Callable[[str], str] = str,
    read: Callable[[str], str] = str,
    owns: str = "",
    **settings: Any,
) -> list[str]:
    """`st.multiselect` whose values stand in the address as `joined`; where it has a default, 'none' is the empty
    choice. `show` is how an option reads, `read` the option that a text of the address means. `owns`: what names begin
    with that say more of an option, such as `race.` for `race.rank`; they go with it."""
    key = repeated.key_of(f"{page}_{name}")
    parts = list(dict.fromkeys(map(read, listed(name))))
    said = [part for part in parts if part in options] or ([] if parts == ["none"] else list(default))
    said = st.session_state[key] = said[: settings.get("max_selections")]

    def keep() -> None:
        kept = {owns + part for part in st.session_state[key]}
        gone = [other for other in shown() if owns and other.startswith(owns) and other not in kept]
        write(**{name: joined(st.session_state[key]) or ("none" if default else None)}, **dict.fromkeys(gone))

    # A click into the field shall meet its options, not a button that chooses them all.
    st.multiselect(label, options, key=key, format_func=show, on_change=keep, select_all=False, **settings)
    return said


def clicked(key: str) -> list | None:
    """The `customdata` of the mark that was clicked just now in the figure with this key."""
    return figure.clicked(st.session_state[repeated.key_of(key)])
