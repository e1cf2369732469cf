"""Which image is asked about: dropped, pasted, from the camera, or a test image of a task. Its name is in the address.

A picture that somebody brings is kept in Headroom's own folder, small and without its metadata, so that the address is
a link to it; it leaves this machine in no way.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable, Sequence
from typing import BinaryIO

import streamlit as st

from app import brought, cached, errors, links, screen, subjects, theme, words
from app.drawn import plan
from app.room import who
from app.try_it import named
from peftcore import uploads
from peftcore.errors import HeadroomError
from peftcore.figures import strip
from peftcore.task import embedded_tasks

FROM = {"drop": "Drop or paste", "camera": "Camera", "test": "Test image"}
FAULT = "try_it_fault"
SIDE, PER_ROW = 64, 12  # of the strip of test images

_JS = """
export default function ({ setTriggerValue }) {
  const take = (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    const reader = new FileReader();
    reader.onload = () => setTriggerValue("image", reader.result);
    reader.readAsDataURL(file);
  };
  document.addEventListener("paste", take);
  return () => document.removeEventListener("paste", take);
}
"""
_pasting = st.components.v2.component("paste_image", js=_JS)


def choose(runs: Sequence[subjects.Run]) -> str:
    """The widgets of one way to bring an image; the name of the image that is asked about."""
    default = named.of_test(runs[0].spec["task"] if runs else embedded_tasks()[0], 0)
    how = links.choice(
        st.segmented_control, "try_it", "from", "from", list(FROM), default="drop", show=FROM.__getitem__,
        label_visibility="collapsed",
    )  # fmt: skip
    {"drop": _drop, "camera": _camera, "test": lambda: _test(runs)}[how]()
    if fault := st.session_state.get(FAULT):
        errors.show(fault)
    asked = links.read("image") or default
    if named.tested(asked) or named.is_own(asked):
        return asked
    told = f"There is no image called {asked!r}. What follows is of another: {named.in_words(default)}."
    st.warning(errors.plain(told), icon=":material/link_off:")
    return default


def keep(given: BinaryIO | None) -> None:
    """Keeps a picture and puts it into the address; what is wrong with it is said by the next run of the page."""
    st.session_state.pop(FAULT, None)
    if given is None:
        return
    try:
        links.write(image=cached.OWN + uploads.keep_picture(given, owner=brought.owner()))
    except HeadroomError as error:
        st.session_state[FAULT] = str(error)


def paste(key: str, take: Callable[[BinaryIO], None]) -> None:
    """Takes what is pasted anywhere on the page."""

    def taken() -> None:
        address = st.session_state[key]["image"]
        if address:
            take(decoded(address))

    with st.container(key=f"{key}_place"):
        _pasting(key=key, on_image_change=taken)


def decoded(address: str) -> BinaryIO:
    """The bytes of a data address. What is none has no bytes, and `keep_picture` says so."""
    try:
        return io.BytesIO(base64.b64decode(address.partition(",")[2], validate=True))
    except binascii.Error:
        return io.BytesIO()


def _drop() -> None:
    key = "try_it_drop"
    st.file_uploader(
        "Drop an image here, or paste one: Ctrl+V, on a Mac ⌘V", key=key, max_upload_size=50,
        on_change=lambda: keep(st.session_state[key]),
    )  # fmt: skip
    paste("try_it_paste", keep)


def _camera() -> None:
    key = "try_it_camera"
    st.camera_input(
        "Take a picture", key=key, on_change=lambda: keep(st.session_state[key]), width=420,
        help="The camera works where the page is on this machine (localhost) or comes by https.",
    )  # fmt: skip


def _test(runs: Sequence[subjects.Run]) -> None:
    """A task, and a strip of its test images."""
    tasks = list(dict.fromkeys([*(run.spec["task"] for run in runs), *embedded_tasks()]))
    name, number = named.tested(links.read("image") or "") or (tasks[0], 0)
    tasks += [name] if name not in tasks else []
    key = "try_it_task"
    st.session_state[key] = name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "task", tasks, key=key, format_func=words.task_title,
            on_change=lambda: links.write(image=named.of_test(st.session_state[key], 0)),
        )  # fmt: skip
        with errors.sentences():
            who.task(name)
            task = cached.task(name)
        split, last = task.test, len(task.test) - 1
        st.session_state["try_it_number"] = min(number, last)
        st.number_input(
            f"image, 0 to {last}", 0, last, key="try_it_number",
            on_change=lambda: links.write(image=named.of_test(name, st.session_state["try_it_number"])),
        )  # fmt: skip
    columns = max(1, min(PER_ROW, (screen.width() - 2 * screen.PADDING) // (SIDE + strip.GAP)))
    first = min(number, last) // columns * columns
    numbers = list(range(first, min(first + columns, last + 1)))
    figure = plan(
        strip.image_strip, [split.images[n] for n in numbers], numbers,
        [str(task.classes[split.labels[n]]) for n in numbers], selected=min(number, last),
        columns=columns, side=SIDE, dark=theme.is_dark(),
    )  # fmt: skip

    def pick() -> None:
        if clicked := links.clicked("try_it_strip"):
            links.write(image=named.of_test(name, clicked[0]))

    theme.show(figure, "try_it_strip", on_click=pick, alt="Test images to choose from")
