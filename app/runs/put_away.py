"""Archive and delete in the app, and the way back from both."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import streamlit as st

from app import errors, links, state, words
from app.room import who
from peftcore.errors import HeadroomError
from peftcore.store import RunRecord, Store, marks

_DONE, _SAID = "runs_put_away", "runs_said"  # in the session: what was done last, and why something was not


class Done(NamedTuple):
    """What was done to which runs: 'archive', 'unarchive', 'delete', 'restore' or 'forget'."""

    how: str
    runs: tuple[int, ...]


HOW: dict[str, tuple[Callable[[Store, Iterable[int]], list[int]], str, str]] = {  # does it; its past; what undoes it
    "archive": (marks.archive, "archived", "unarchive"),
    "unarchive": (lambda store, runs: marks.archive(store, runs, on=False), "taken out of the archive", "archive"),
    "delete": (marks.delete, "deleted", "restore"),
    "restore": (marks.restore, "restored", "delete"),
    "forget": (marks.forget, "deleted for good", ""),
}


def do(how: str, runs: Iterable[int]) -> None:
    """Archives, deletes or restores, as the callback of a button; what was done can be undone by the next one."""
    try:
        changed = HOW[how][0](state.store(), list(runs))
    except HeadroomError as error:
        st.session_state[_SAID] = str(error)
    else:
        st.session_state[_DONE] = Done(how, tuple(changed)) if changed else None


def bar() -> None:
    """What was done last, with the button that undoes it; and why the last wish could not be fulfilled, once."""
    if said := st.session_state.pop(_SAID, None):
        errors.show(said)
    done: Done | None = st.session_state.get(_DONE)
    if not done:
        return
    which = f"Run {done.runs[0]}" if len(done.runs) == 1 else f"{len(done.runs)} runs"
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="runs_undo_bar"):
        st.caption(f"{which} {HOW[done.how][1]}.", width="content")
        if HOW[done.how][2]:
            st.button("Undo", key="runs_undo", icon=":material/undo:", type="tertiary", on_click=_undo, args=(done,))


def _undo(done: Done) -> None:
    do(HOW[done.how][2], done.runs)
    st.session_state[_DONE] = None


def deleted(record: RunRecord) -> None:
    """In place of a run that was deleted: when, how long it is kept, and the button that brings it back."""
    assert record.deleted is not None
    st.info(
        f"Run {record.id} was deleted {words.age(record.deleted)}. It can be restored for {marks.KEPT_DAYS} days; "
        "after that it is forgotten with its events and its adapter.",
        icon=":material/delete:",
    )
    if not who.owns(record):
        return
    with st.container(horizontal=True):
        st.button(
            "Restore", key="restore", type="primary", icon=":material/restore_from_trash:", on_click=do,
            args=("restore", [record.id]),
        )  # fmt: skip
        st.button(
            "Delete for good", key="forget", icon=":material/delete_forever:", on_click=_forget, args=(record.id,),
            help="Frees what it keeps. There is no way back.",
        )  # fmt: skip


def _forget(run: int) -> None:
    do("forget", [run])
    links.write(run=None)  # it would say that there is no such run


def buttons(records: list[RunRecord], key: str) -> None:
    """Archive and Delete of runs, or what undoes them; disabled while one of them works."""
    runs, busy = [record.id for record in records], not all(record.ended for record in records)
    if all(record.deleted for record in records):
        ways = [("restore", "Restore", "restore_from_trash"), ("forget", "Delete for good", "delete_forever")]
    elif all(record.archived for record in records):
        ways = [("unarchive", "Out of the archive", "unarchive"), ("delete", "Delete", "delete")]
    else:
        ways = [("archive", "Archive", "archive"), ("delete", "Delete", "delete")]
    for how, label, icon in ways:
        st.button(
            label, key=f"{how}_{key}", icon=f":material/{icon}:", type="tertiary", disabled=busy, on_click=do,
            args=(how, runs), help="Stop it first." if busy else None,
        )  # fmt: skip
