"""Which image a page looks at, the task's or the reader's own or a photograph, and at which size."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from app import brought, cached, errors, glossary, links, screen, subjects, theme
from app.drawn import plan
from peftcore import uploads
from peftcore.errors import HeadroomError
from peftcore.figures import strip


def choose_image(page: str, run: subjects.Run, *, count: int, side: int = 64) -> int | str:
    """A strip of the task's test images, with arrows to the next ones, and a place for an image of the reader's own.

    `count`: how many images at a time, about; on a phone they fill their rows. `side`: pixels of each in a laptop's
    window. Returns the number of the chosen test image, or the own one's name, as `cached.test_image` takes both.
    """
    side = round(screen.scale() * side)
    columns = min(count, max(1, (screen.width() - 2 * screen.PADDING) // (side + strip.GAP)))
    count = columns * max(1, round(count / columns))
    own = _own_image(page, run)
    task = cached.task(run.spec["task"])
    split = task.test
    image = _numbered(run)
    first = image // count * count
    numbers = list(range(first, min(first + count, len(split))))
    key = f"{page}_images"

    def pick() -> None:
        if clicked := links.clicked(key):
            links.write(image=clicked[0])

    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button(
            "",
            icon=":material/chevron_left:",
            key=f"{page}_images_before",
            help="Earlier images",
            type="tertiary",
            disabled=first == 0,
            on_click=links.write,
            kwargs={"image": max(0, first - count)},
        )
        figure = plan(
            strip.image_strip,
            [split.images[n] for n in numbers],
            numbers,
            [str(task.classes[split.labels[n]]) for n in numbers],
            selected=None if own else image,
            columns=columns,
            side=side,
            dark=theme.is_dark(),
        )
        theme.show(figure, key, on_click=pick, alt="Test images to choose from")
        st.button(
            "",
            icon=":material/chevron_right:",
            key=f"{page}_images_after",
            help="More images",
            type="tertiary",
            disabled=first + count >= len(split),
            on_click=links.write,
            kwargs={"image": first + count},
        )
        _bring(page)
        with st.popover("", icon=":material/tag:", type="tertiary", help="Test image by number"):
            number = f"{page}_image_number"
            st.session_state[number] = image
            st.number_input(
                f"test image, 0 to {len(split) - 1}", 0, len(split) - 1, key=number,
                on_change=lambda: links.write(image=st.session_state[number]),
            )  # fmt: skip
    return own or image


def asked(page: str, run: subjects.Run) -> int | str:
    """The image that the address names, as `choose_image` returns it."""
    return _own_image(page, run) or _numbered(run)


def _numbered(run: subjects.Run) -> int:
    return links.number("image", 0, len(cached.task(run.spec["task"]).test) - 1, 0)


def _own_image(page: str, run: subjects.Run) -> str | None:
    """The reader's own image that the address names, where it is still kept."""
    said = links.read("image") or ""
    if not said.startswith(cached.OWN) and said not in cached.PHOTOS:
        return None
    with errors.sentences(stop=False):
        cached.test_image(run, said)
        return said
    return None


def _bring(page: str) -> None:
    """A button behind which an image of the reader's own is uploaded; it gets a name, and the address says it."""
    key = f"{page}_own"

    def keep() -> None:
        if (given := st.session_state[key]) is not None:
            try:
                links.write(image=cached.OWN + uploads.keep_picture(given, owner=brought.owner()))
                st.session_state.pop(f"{key}_fault", None)
            except HeadroomError as error:
                st.session_state[f"{key}_fault"] = str(error)

    with st.popover("", icon=":material/add_photo_alternate:", type="tertiary", help="Your own image"):
        st.file_uploader("Look at an image of your own", key=key, on_change=keep, max_upload_size=50)
        if fault := st.session_state.get(f"{key}_fault"):
            errors.show(fault)
        st.caption("Its shorter side is brought to what the backbone reads, and its middle taken.")


def photographs(page: str, shown: str | None = None) -> None:
    """Real photographs to look at in place of a task's images. `shown`: the one that is, whatever the address says."""
    said = shown or links.read("image")
    for code, file in cached.PHOTOS.items():
        st.button(
            file, key=f"{page}_{code}", icon=":material/photo_camera:", type="tertiary", disabled=said == code,
            help=f"Look at scikit-learn's photograph {file}", on_click=links.write, kwargs={"image": code},
        )  # fmt: skip


def finer(page: str, run: subjects.Run) -> subjects.Run:
    """A toggle: the run, looked at on images of twice as many pixels on each side."""
    key, on = f"{page}_twice", links.read("times") == "2"
    st.session_state[key] = on
    st.toggle(
        "A finer look",
        key=key,
        on_change=lambda: links.write(times=2 if st.session_state[key] else None),
        help=glossary.linked(
            "The model reads the image at twice its size, so a patch is half as large. Positions are resampled as timm "
            "does it; the model was not trained at this size."
        ),
    )
    return replace(run, subject=run.subject._replace(times=2)) if on else run


def size_note(run: subjects.Run) -> str:
    """For captions: at which size the model reads, where that is not its own."""
    if run.subject.times == 1:
        return ""
    height, width = cached.anatomy(run.subject).input_size
    return f" Read at {height} x {width} pixels, {run.subject.times} times its size: positions resampled as timm does."
