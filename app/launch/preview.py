"""What a task looks like: one training image of each class, with its name."""

from __future__ import annotations

import numpy as np
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from app import background, errors, navigation, pictures, versions
from app.room import who
from peftcore.errors import HeadroomError
from peftcore.task import load_task

PREVIEWED = 10  # images of a task, one of each class
PAD = 1 / 13  # of an image's width, transparent around it
SIDE = 56  # pixels of an image
HEIGHT = 136  # pixels, at least: on a phone the images take two rows


def place() -> DeltaGenerator:
    """Where `preview` draws, of its size already, so that nothing moves when it comes."""
    st.html(f"<style>.st-key-task_preview {{min-height: {HEIGHT}px}}</style>")
    return st.container(key="task_preview").empty()


def draw(place: DeltaGenerator, task: str) -> int:
    """One training image of each class, with its name; returns how many training images there are."""
    try:
        who.task(task)
    except HeadroomError as error:
        place.caption(errors.plain(str(error)))
        return 0
    job = background.later(("preview", task, versions.of(task)), lambda: _one_of_each(task))
    background.wait(job, lambda: place.caption("Drawing the task's images."), place)
    if isinstance(images := job.result(), HeadroomError):
        place.caption(f"No images to show. {errors.plain(str(images))}")
        return 0
    images, count, asks = images
    with place.container(gap=None):
        # Data addresses: Streamlit's media files go with the session's next run, while the browser may still ask.
        names = [one.name if len(one.name) < 9 else f"{one.name[:5]}…" for one in images]
        st.image([one.address for one in images], caption=list(map(errors.plain, names)), width=SIDE)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.caption(f"{errors.plain(asks)} {count:,} training images.", width="content")
            navigation.link("tasks", "Look at this task", task=task)
    return count


def _one_of_each(name: str) -> tuple[list[pictures.Thumbnail], int, str] | HeadroomError:
    """Images with their classes' names, the number of training images, what the task asks; or why it can't be read."""
    try:
        task = load_task(name, download=False)
        labels, first = (found[:PREVIEWED] for found in np.unique(task.train.labels, return_index=True))
        images = [
            pictures.thumbnail(_framed(image), task.classes[label], SIDE)
            for image, label in zip(task.train.images[first], labels, strict=True)
        ]
        return images, len(task.train), task.description
    except HeadroomError as error:
        return error


def _framed(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H + 2 pad, W + 2 pad, 4) with a transparent edge, since Streamlit sets images edge to edge."""
    pad = round(PAD * image.shape[1])
    opaque = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    return np.pad(opaque, ((pad, pad), (pad, pad), (0, 0)))
