"""The archive that somebody takes home: made in a thread, run by run, and sent from its file. People take turns."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import streamlit as st

from app import background, errors, state
from app.desk import Desk, Job
from app.room import greeting, who
from app.room.archives import OWN, ROUTE, WHOLE, file
from peftcore.engine.room import archive
from peftcore.figures.words import si_bytes

_WORK = "room_archive"  # in the session


@dataclass
class Work:
    """An archive in the making: how many runs of how many; of none, before its turn."""

    done: int = 0
    total: int = 0
    stopped: bool = False
    job: Job | None = field(default=None, repr=False)

    @property
    def said(self) -> str:
        if not self.total:
            return "Waiting for another archive"
        return f"Packing run {min(self.done + 1, self.total):,} of {self.total:,}"

    def tell(self, done: int, total: int) -> None:
        if self.stopped:
            raise archive.Stopped
        self.done, self.total = done, total


@st.cache_resource(show_spinner=False)
def _desk() -> Desk:
    return Desk(2)  # one person's archive does not wait for a whole room's


def draw(owner: str | None) -> None:
    """The button that makes it, how far it is, and the link that fetches it. `owner`: None for the whole room."""
    person = who.me()
    assert person is not None, "only in a room"
    path = file(WHOLE if owner is None else person.id)
    whose = "everybody's runs" if owner is None else "your runs"
    if owner is None:
        st.caption(
            "One zip: a folder for each person, a folder in it for each run with its settings, curves (CSV), adapter "
            "and predictions; a table of all runs and of the challenge."
        )
    work: Work | None = st.session_state.get(_WORK)
    if work and work.job and not work.job.done():
        place = st.empty()
        st.button("Stop", key="archive_stop", icon=":material/stop_circle:", on_click=_stop, args=(work,))
        background.wait(work.job, lambda: place.progress(work.done / max(1, work.total), text=work.said), place)
        st.rerun()
    if work and work.job and (fault := work.job.exception()) and not isinstance(fault, archive.Stopped):
        errors.show(str(fault))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            f"Pack {whose}", key="archive_make", icon=":material/folder_zip:", on_click=_make, args=(owner, path),
            help="Made anew each time.",
        )  # fmt: skip
        if path.exists():
            st.link_button(
                f"Download, {si_bytes(path.stat().st_size)}", f"{ROUTE}/{WHOLE if owner is None else OWN}",
                icon=":material/download:", type="primary",
            )  # fmt: skip


def _make(owner: str | None, path: Path) -> None:
    work, store, room = Work(), state.store(), greeting.room() if owner is None else None
    work.job = _desk().alone(partial(archive.write, store, path, owner, room, work.tell))
    st.session_state[_WORK] = work


def _stop(work: Work) -> None:
    """One that waits is looked at no more, and never begins."""
    work.stopped = True
    del st.session_state[_WORK]
