"""What a person calls a run: its name, tags, note and star, and how they are shown. They are never markup."""

from __future__ import annotations

import html

import streamlit as st

from app import errors, links, state
from app.room import who
from app.runs import put_away
from peftcore.errors import HeadroomError
from peftcore.store import RunRecord, marks

STAR = ":orange[:material/star:]"
_SAID = "labels_said"  # in the session: why a label was not kept


def tags(record: RunRecord) -> str:
    """Markdown: the tags as badges."""
    return " ".join(f":gray-badge[{errors.plain(tag)}]" for tag in record.tags)


def shown(record: RunRecord) -> None:
    """The tags and the note, where there are some."""
    if said := st.session_state.pop(_SAID, None):
        errors.show(said)
    if record.tags:
        st.markdown(tags(record))
    if record.note:
        st.html(f'<div style="white-space:pre-wrap;overflow-wrap:anywhere">{html.escape(record.note)}</div>')


def star(record: RunRecord) -> None:
    """The button that gives and takes the star."""
    if not who.owns(record):
        return
    what = "Take the star away" if record.starred else "Give it a star"
    st.button(
        "" if not record.starred else STAR, key="star", type="tertiary", help=what, on_click=_mark,
        icon=None if record.starred else ":material/star_border:",
        kwargs={"run": record.id, "starred": not record.starred},
    )  # fmt: skip


def editor(record: RunRecord) -> None:
    """Fields for the name, tags and note, which are kept as soon as they are left; and archive and delete."""
    if not who.owns(record):
        return
    with st.popover("", icon=":material/edit_note:", type="tertiary", help="Name, tags, note; archive, delete"):
        for what, value, longest in (
            ("name", record.name, marks.LONGEST_NAME),
            ("tags", ", ".join(record.tags), (marks.LONGEST_TAG + 2) * marks.MOST_TAGS),
            ("note", record.note, marks.LONGEST_NOTE),
        ):
            key = f"label_{what}_{record.id}"
            field = st.text_area if what == "note" else st.text_input
            field(
                what.capitalize(), links.show(key, value), key=key, max_chars=longest, on_change=_keep,
                kwargs={"key": key, "what": what, "run": record.id},
                placeholder="thesis, seeds" if what == "tags" else None,
            )  # fmt: skip
        with st.container(horizontal=True):
            put_away.buttons([record], "this")


def _keep(key: str, what: str, run: int) -> None:
    value = st.session_state[key]
    _mark(run, **{what: marks.tags_of(value) if what == "tags" else value})


def _mark(run: int, **values: object) -> None:
    try:
        marks.mark(state.store(), [run], **values)  # type: ignore[arg-type]  # by name, from the fields above
    except HeadroomError as error:
        st.session_state[_SAID] = str(error)
