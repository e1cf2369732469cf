"""Who looks at this page: nobody in particular on one's own machine, somebody with a name in a room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import streamlit as st

from app.room import cookie, greeting, is_room
from peftcore.engine.room import Person, Settings, ending
from peftcore.engine.room.rights import SHELF, Rights
from peftcore.engine.room.ruling import RoomAs
from peftcore.errors import HeadroomError, NotYours
from peftcore.spec import RunSpec
from peftcore.store import RunRecord

_handed: ContextVar[bool] = ContextVar("handed", default=False)


@contextmanager
def handed_over() -> Iterator[None]:
    """Within it nobody is asked who they are: work beside a page, in a thread or a process that no cookie reaches. The
    page asked before it handed the work over."""
    token = _handed.set(True)
    try:
        yield
    finally:
        _handed.reset(token)


def me() -> Person | None:
    """The person whose cookie this session came with; None alone, and for a stranger in a room."""
    return cookie.person(greeting.room(), st.context.cookies) if is_room() else None


def rights() -> Rights | None:
    """What they may do; None alone and in work that was handed over, where everything is allowed.

    Raises:
        NotYours: a stranger in a room.
    """
    if not is_room() or _handed.get():
        return None
    if (person := me()) is None:
        raise NotYours("Enter the room first.")
    return Rights(greeting.room(), person.id)


def room() -> RoomAs:
    """The room as theirs: only the teacher changes anything in it.

    Raises:
        NotYours: a stranger, or alone, where there is no room.
    """
    if (may := rights()) is None:
        raise NotYours("There is no room: this Headroom is somebody's own.")
    return RoomAs(may)


def settings() -> Settings:
    """What the teacher has set; alone, nothing."""
    return greeting.room().now().settings if is_room() else Settings()


def has_ended() -> bool:
    """Whether the teacher has ended the room."""
    return is_room() and ending.ended(greeting.room()) is not None


def is_shut() -> bool:
    """Whether this person launches nothing now, whatever it is: launching is closed, or the room has ended."""
    return (has_ended() or not settings().launching) and not is_teacher()


def ended_with(record: RunRecord) -> bool:
    """Whether a run was stopped because the room ended."""
    return is_room() and ending.stopped(greeting.room(), record)


def is_alone() -> bool:
    """Whether this is somebody's own machine, where nobody has a name."""
    return not is_room()


def is_teacher() -> bool:
    """Whether this is the teacher of a room."""
    person = me()
    return person is not None and person.is_teacher


def sight() -> str:
    """Part of the key of what pages keep for all sessions: the same for those who are shown the same of every run."""
    may = rights()
    return "" if may is None else may.sight()


def owns(record: RunRecord) -> bool:
    """Whether the run may be changed: where not, its page has no buttons for it."""
    may = rights()
    return may is None or may.owns(record.owner)


def owns_images(name: str) -> bool:
    """The same of a set of uploaded images."""
    may = rights()
    return may is None or may.owns(may.room.now().owners.get(SHELF + name, ""))


def task(name: str) -> None:
    """Whether a task may be looked at. Raises NotYours: its images are somebody else's, or would be downloaded."""
    if may := rights():
        may.task(name)


def unpredicted(backbone: str, task: str = "") -> HeadroomError | None:
    """Why nobody tells whoever looks at the page what these take; None where it is told. Asked before it is looked
    whether it is known: somebody else may have asked."""
    if (may := rights()) is None:
        return None
    try:
        may.predict(backbone, task)
    except HeadroomError as error:
        return error
    return None


def fetch(what: str) -> None:
    """Whether a page may have something downloaded for whoever looks at it. Raises NotYours."""
    if may := rights():
        may.fetch(what)


def refused(specs: Sequence[RunSpec]) -> HeadroomError | None:
    """Why runs with these settings may not be launched by whoever looks at the page; None where they may, and while
    nothing at all is launched (`is_shut`), which no other settings would mend."""
    if (may := rights()) is None or is_shut():
        return None
    try:
        for spec in specs:
            may.launch(spec.to_dict())
    except HeadroomError as error:
        return error
    return None


def admit() -> None:
    """Ends the page for who is not in the room: the door lets nobody else come as far, but somebody may be removed
    while a page is open, or the app may have been started without a door."""
    if not is_room() or me() is not None:
        return
    if greeting.has_door():
        st.title("You are no longer in this room")
        st.markdown("Enter it again with its code and your name, or ask the teacher.")
        st.link_button("Enter", "/enter", icon=":material/login:")
    else:
        st.title("This Headroom has no door")
        st.markdown(
            "Others can open it, so it must know who they are. Start it as `make app HOST=...`, or as `streamlit run "
            "room_app.py`; for this machine alone, as `make app`."
        )
    st.stop()
