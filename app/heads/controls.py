"""What the pages that look into a run share: which run, which image, which patch asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from app import cached, errors, links, navigation, screen, subjects, theme, words
from peftcore import uploads
from peftcore.errors import HeadroomError
from peftcore.figures import strip
from peftcore.figures.attention import attention_overlay, patch_picker
from peftcore.figures.theme import percent


def choose_run(page: str, offered: Sequence[subjects.Run], method: str) -> subjects.Run:
    """A select box of runs; the address may name any other run. Without runs of the reader's own: an invitation.

    `method`: of the recorded example that is shown first, and what the launch page is opened with where there is none.
    """
    asked = links.read("run")
    offered = list(offered)
    if asked and asked not in [run.subject.id for run in offered]:
        try:
            offered.insert(0, subjects.run(subjects.named(asked)))
        except HeadroomError as error:
            errors.show(error)
    if not offered:
        st.info("There is no run to look at yet. Train one: it takes a minute.", icon=":material/rocket_launch:")
        navigation.link("launch", "Launch a run", method=method)
        st.stop()
    newest = offered[0]
    if newest.example:
        newest = next((run for run in offered if run.method == method), newest)
    chosen = links.choice(
        st.selectbox,
        page,
        "run",
        "run",
        offered,
        default=newest,
        show=lambda run: run.title + (f", {words.age(run.finished)}" if run.finished else ""),
        code=lambda run: run.subject.id,
    )
    if not asked:
        links.write(run=chosen.subject.id)  # tomorrow's newest run is another one: the link names this one
    return chosen


def invite(run: subjects.Run) -> None:
    """Under a recorded example: what it is, and the way to one's own."""
    if run.example:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(
                "This is a recorded example: a real run that travels with Headroom. Make your own:", width="content"
            )
            navigation.link("launch", f"Launch {words.run_title(run.spec)}", method=run.method, task=run.spec["task"])


def choose_image(page: str, run: subjects.Run, *, count: int, side: int = 64) -> int | str:
    """A strip of the task's test images, with arrows to the next ones, and a place for an image of the reader's own.

    `count`: how many images at a time, about; on a phone they fill their rows. Returns the number of the chosen test
    image, or the own one's name, as `cached.test_image` takes both.
    """
    columns = min(count, max(1, (screen.width() - 2 * screen.PADDING) // (side + strip.GAP)))
    count = columns * max(1, round(count / columns))
    own = _own_image(page, run)
    task = cached.task(run.spec["task"])
    split = task.test
    image = links.number("image", 0, len(split) - 1, 0)
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
        figure = strip.image_strip(
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
                links.write(image=cached.OWN + uploads.keep_picture(given))
                st.session_state.pop(f"{key}_fault", None)
            except HeadroomError as error:
                st.session_state[f"{key}_fault"] = str(error)

    with st.popover("", icon=":material/add_photo_alternate:", type="tertiary", help="Your own image"):
        st.file_uploader("Look at an image of your own", key=key, on_change=keep, max_upload_size=50)
        if fault := st.session_state.get(f"{key}_fault"):
            errors.show(fault)
        st.caption("Its shorter side is brought to what the backbone reads, and its middle taken.")


def choose_head(page: str, values: np.ndarray) -> tuple[int, int]:
    """Select boxes of layer and head, from 0; by default the strongest of `values` (layers, heads)."""
    top_layer, top_head = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    left, right = st.columns(2)
    with left:
        layer = _nth(page, "layer", len(values), int(top_layer))
    with right:
        return layer, _nth(page, "head", max(1, int(np.isfinite(values[layer]).sum())), int(top_head))


def _nth(page: str, name: str, count: int, default: int) -> int:
    """A select box of 1 to `count` that the address names, from 0."""
    said = links.number(name, 1, count, min(default, count - 1) + 1) - 1
    return links.choice(
        st.selectbox,
        page,
        name,
        name,
        range(count),
        default=said,
        show=lambda index: f"{index + 1} of {count}",
        code=lambda index: str(index + 1),
    )


def by_number(page: str, grid: tuple[int, int], look: cached.Look) -> None:
    """The patch that asks, by row and column: what a click on it does, for the keyboard."""
    row, column = look.asked or (grid[0] // 2, grid[1] // 2)
    with st.popover("Patch by number", icon=":material/grid_on:", type="tertiary"):
        keys = [f"{page}_row", f"{page}_column"]
        for key, label, value, most in zip(keys, ("row", "column"), (row, column), grid, strict=True):
            st.session_state[key] = min(value, most - 1) + 1
            st.number_input(
                label, 1, most, key=key,
                on_change=lambda: links.write(query="-".join(str(st.session_state[key]) for key in keys)),
            )  # fmt: skip


def choose_number(page: str, name: str, label: str, count: int, *, mean: bool = False, rollout: bool = False) -> int:
    """A select box of 1 to `count`, the last by default; with `mean`, the mean over all is first and the default; with
    `rollout`, the way through all of them is last."""
    named = {cached.MEAN: ("mean of all", "mean"), cached.ROLLOUT: ("rollout through all", "rollout")}
    return links.choice(
        st.selectbox,
        page,
        name,
        label,
        [*([cached.MEAN] if mean else []), *range(count), *([cached.ROLLOUT] if rollout else [])],
        default=cached.MEAN if mean else count - 1,
        show=lambda index: named[index][0] if index in named else f"{index + 1} of {count}",
        code=lambda index: named[index][1] if index in named else str(index + 1),
    )


def photographs(page: str) -> None:
    """Real photographs to look at in place of a task's images."""
    said = links.read("image")
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
        help="The model reads the image at twice its size, so patches are half as large. Positions are resampled as "
        "timm does it; the model was not trained at this size.",
    )
    return replace(run, subject=run.subject._replace(times=2)) if on else run


def size_note(run: subjects.Run) -> str:
    """For captions: at which size the model reads, where that is not its own."""
    if run.subject.times == 1:
        return ""
    height, width = cached.anatomy(run.subject).input_size
    return f" Read at {height} x {width} pixels, {run.subject.times} times its size: positions resampled as timm does."


def pick_head(key: str) -> None:
    """What a click on a cell of the grid does."""
    if clicked := links.clicked(key):
        links.write(layer=clicked[0] + 1, head=clicked[1] + 1)


def pick_query(key: str) -> None:
    """What a click on a patch does: it becomes the one that asks."""
    if clicked := links.clicked(key):
        links.write(query=f"{clicked[0] + 1}-{clicked[1] + 1}")


def asking(look: cached.Look) -> str:
    """Who asks, in words."""
    if look.asked is None:
        return "the class token"
    return f"the patch in row {look.asked[0] + 1}, column {look.asked[1] + 1}"


def ask_class_token(page: str, run: subjects.Run, look: cached.Look) -> None:
    """A button that lets the class token ask, where there is one and it does not ask already."""
    if look.asked is not None and cached.anatomy(run.subject).prefix_tokens:
        st.button(
            "Let the class token ask",
            key=f"{page}_class",
            icon=":material/label:",
            on_click=links.write,
            kwargs={"query": "class"},
        )


def overlay(
    key: str,
    image: np.ndarray,
    look: cached.Look,
    head: int,
    title: str,
    *,
    spec: Mapping[str, Any],
    zmax: float | None = None,
    width: int = 300,
) -> None:
    """One map over the image, of a run with this spec; a click on it picks the next query."""
    grid, prefix = look.head(head)
    note = f"at most {percent(float(grid.max()))} on one patch"
    if look.has_prefix:
        registers = look.to_registers(head)
        note = f"{_share(prefix - (registers or 0.0))} goes to the class token"
        if registers is not None:
            note += f", {_share(registers)} to registers"
    figure = attention_overlay(image, grid, look.asked, title, zmax, note=note, width=width, dark=theme.is_dark())
    theme.show(figure, key, spec=spec, on_click=lambda: pick_query(key))


def _share(value: float) -> str:
    return percent(value) if value >= 0.0005 else "next to nothing"


def picker(
    key: str,
    image: np.ndarray,
    grid: tuple[int, int],
    query: tuple[int, int] | None,
    title: str,
    *,
    spec: Mapping[str, Any],
    note: str = "",
    width: int = 300,
) -> None:
    """The plain image whose patches take a click; it stands beside maps, and is marked as they are."""
    figure = patch_picker(image, grid, query, title=title, note=note, width=width, dark=theme.is_dark())
    theme.show(figure, key, spec=spec, on_click=lambda: pick_query(key))
