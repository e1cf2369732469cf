"""Teach it: classes that somebody names and shows with a few pictures. They are in this session until they are kept."""

from __future__ import annotations

import html
import io
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import streamlit as st

from app import background, errors, libraries, links, pictures, subjects
from app.launch import closed
from app.room import who
from app.try_it import burst, images, learning
from peftcore import uploads
from peftcore.errors import HeadroomError
from peftcore.spec import RunSpec
from peftcore.uploads.decoding import decode
from peftcore.uploads.division import FEWEST

ABOUT = 10  # pictures of a class that are asked for
MOST_CLASSES, MOST_PICTURES = 10, 60  # of a class
THUMB = 44  # pixels
FROM = {"camera": "Camera", "drop": "Drop or paste"}
STATE = "teach"


@dataclass
class Shown:
    """A class: its pictures as PNG files, and a thumbnail of each. `id`: of its widgets, never used again."""

    id: int
    name: str
    files: list[bytes] = field(default_factory=list)
    thumbnails: list[pictures.Thumbnail] = field(default_factory=list)

    def undo(self) -> None:
        """Takes the last picture away."""
        del self.files[-1:], self.thumbnails[-1:]


@dataclass
class Lesson:
    """All classes of this session. `round` counts pictures: each renews the widget that took it."""

    classes: list[Shown]
    made: int = 2
    round: int = 0
    faults: list[str] = field(default_factory=list)

    def add_class(self) -> None:
        self.classes.append(Shown(self.made, f"class {self.made + 1}"))
        self.made += 1

    def take(self, to: Shown, files: list[BinaryIO]) -> None:
        """Adds pictures to a class; says which cannot be used."""
        self.round, self.faults = self.round + 1, []
        for file in files:
            if len(to.files) >= MOST_PICTURES:
                self.faults.append(f"A class takes {MOST_PICTURES} pictures; the others were left out.")
                break
            try:
                clean = uploads.clean_picture(file)
            except HeadroomError as error:
                self.faults.append(f"{getattr(file, 'name', 'What was pasted')}: {error}")
                continue
            to.files.append(clean)
            name = f"{to.name}, picture {len(to.files)}"
            to.thumbnails.append(pictures.thumbnail(_square(clean), name, THUMB))

    def missing(self) -> str:
        """What is still to be done before it can be taught; '' where nothing is."""
        names = [one.name.strip() for one in self.classes]
        if "" in names:
            return "Each class needs a name."
        if twice := next((name for name in names if names.count(name) > 1), None):
            return f"Two classes are called {twice}; give each a name of its own."
        if few := [one for one in self.classes if len(set(one.files)) < FEWEST]:
            left = FEWEST - len(set(few[0].files))
            return (
                f"{few[0].name} needs {left} more {'picture' if left == 1 else 'pictures'}; about {ABOUT} are better."
            )
        return ""


def lesson() -> Lesson:
    """This session's."""
    if STATE not in st.session_state:
        st.session_state[STATE] = Lesson([Shown(0, "class 1"), Shown(1, "class 2")])
    return st.session_state[STATE]


def draw() -> None:
    """The classes at the left, the camera at the right, and the button below; or how the learning goes."""
    background.later("libraries", libraries.load)  # meanwhile somebody takes pictures
    if (run := subjects.number(links.read("learning") or "")) is not None:
        learning.follow(run)
        return
    state = lesson()
    left, right = st.columns([6, 5], gap="large")
    with left:
        for one in state.classes:
            _class(state, one)
        if len(state.classes) < MOST_CLASSES:
            st.button("Add a class", key="teach_add", icon=":material/add:", on_click=state.add_class, type="tertiary")
    with right:
        _camera(state)
    missing, backbone, is_shut = state.missing(), learning.settings(), who.is_shut()
    # Of a set that is still to be kept nobody can ask; it is asked when the run is launched.
    refused = who.refused([learning.spec(RunSpec.model_fields["task"].default, backbone)])
    with st.container(horizontal=True, vertical_alignment="center"):
        pressed = st.button(
            "Teach it", key="teach_go", type="primary", icon=":material/school:",
            disabled=bool(missing or refused or is_shut),
        )  # fmt: skip
        st.caption(errors.plain(missing) or _ready(state), width="stretch")
    if is_shut:
        closed.draw()
    elif refused:
        errors.show(refused)
    if pressed and not missing:
        learning.begin({one.name.strip(): one.files for one in state.classes}, backbone)
    st.caption(
        "The pictures stay on the machine that runs Headroom, and nothing leaves it. When you teach it they are kept "
        "there as a set of your images, which the Tasks page deletes."
    )


def _ready(state: Lesson) -> str:
    count = sum(len(one.files) for one in state.classes)
    return f"{len(state.classes)} classes, {count} pictures: a few seconds."


def _class(state: Lesson, one: Shown) -> None:
    key = f"teach_name_{one.id}"
    with st.container(horizontal=True, vertical_alignment="bottom", wrap=False):
        st.text_input(
            f"Name of class {state.classes.index(one) + 1}", value=links.show(key, one.name), key=key, max_chars=40,
            on_change=lambda: setattr(one, "name", st.session_state[key]), label_visibility="collapsed",
        )  # fmt: skip
        st.button(
            "", key=f"teach_clear_{one.id}", icon=":material/backspace:", type="tertiary",
            help="Remove the last picture", disabled=not one.files, on_click=one.undo,
        )  # fmt: skip
        st.button(
            "", key=f"teach_gone_{one.id}", icon=":material/delete:", type="tertiary", help="Remove this class",
            disabled=len(state.classes) <= 2, on_click=lambda: state.classes.remove(one),
        )  # fmt: skip
    count = f"{len(one.files)} of about {ABOUT} pictures"
    st.html(
        f'<div style="min-height:{THUMB + 26}px">{pictures.row(one.thumbnails, THUMB)}'
        f'<div style="font-size:0.8rem;opacity:0.8">{html.escape(count)}</div></div>'
    )


def _camera(state: Lesson) -> None:
    """Where pictures come from, and to which class they go."""
    by_id = {str(one.id): one for one in state.classes}
    key = "teach_class"
    if st.session_state.get(key) not in by_id:
        st.session_state[key] = next(iter(by_id))
    chosen = st.segmented_control(
        "Pictures of", list(by_id), key=key, required=True, format_func=lambda id: errors.plain(by_id[id].name or "…"),
    )  # fmt: skip
    to = by_id[chosen or next(iter(by_id))]
    how = links.choice(
        st.segmented_control, "teach", "from", "from", list(FROM), default="camera", show=FROM.__getitem__,
        label_visibility="collapsed",
    )  # fmt: skip
    if how == "camera":
        burst.camera("teach_burst", lambda files: state.take(to, files))
    else:
        dropped = f"teach_drop_{state.round}"
        st.file_uploader(
            f"Drop pictures of {errors.plain(to.name)}, or paste one: Ctrl+V, on a Mac ⌘V", key=dropped,
            accept_multiple_files=True, max_upload_size=50,
            on_change=lambda: state.take(to, list(st.session_state[dropped])),
        )  # fmt: skip
        images.paste("teach_paste", lambda file: state.take(to, [file]))
    for fault in state.faults[:3]:
        errors.show(fault)


def _square(file: bytes) -> np.ndarray:
    return decode(io.BytesIO(file), 2 * THUMB, "crop", "a picture")
