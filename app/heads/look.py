"""Looking through one head at one image: where it attends before tuning and after."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from app import cached, heavy, links, looks, recordings, screen
from app.errors import sentences
from app.heads import controls, image_choice
from app.subjects import Run
from peftcore.figures.words import percent

SIDE = 235  # pixels of a picture in a laptop's window
IMAGES, THUMB = 6, 52  # of the strip to choose from: how many, and pixels of each


def through(run: Run, layer: int, head: int) -> None:
    """The strip of images, the two maps side by side, and how much of the attention moved."""
    if not run.has_weights:
        return _recorded(run, layer, head)
    if not heavy.agreed_for(run.spec, "to look through its heads", key="heads"):
        return
    image = image_choice.choose_image("heads", run, count=IMAGES, side=THUMB)
    with sentences(stop=False), st.spinner("Looking through this head ..."):
        grid = cached.anatomy(run.subject).grids[layer]
        query = links.patch("query", grid, None)
        before, after = (cached.attention(run.subject, image, layer, query, tuned) for tuned in (False, True))
        _both(run, cached.test_image(run, image), before, after, head, cached.image_name(image))
        st.caption("Click a patch to let it ask. Both pictures share one scale.")
        with st.container(horizontal=True):
            controls.by_number("heads", grid, before)
            controls.ask_class_token("heads", run, before)
            image_choice.photographs("heads")


def _recorded(run: Run, layer: int, head: int) -> None:
    """What was kept of a run whose weights did not travel: photographs, asked by the class token."""
    kept = recordings.looks(run.subject.id)
    if not kept:
        st.info(cached.ONLY_SCORES, icon=":material/grid_on:")
        return
    photo = kept_photograph(kept)
    side, *looked = (kept[photo][name] for name in ("side", "before", "after"))
    before, after = (looks.recorded(layers[layer]) for layers in looked)
    _both(run, cached.photograph(photo, side), before, after, head, cached.image_name(photo), recorded=True)
    st.caption(
        f"Recorded at {side} x {side} pixels, positions resampled as timm does; the weights do not travel with "
        "Headroom. Both pictures share one scale."
    )
    with st.container(horizontal=True):
        image_choice.photographs("heads", photo)


def _both(
    run: Run, pixels: np.ndarray, before: looks.Look, after: looks.Look, head: int, name: str, recorded: bool = False
) -> None:
    zmax = looks.strongest(before, after, head)
    for column, key, title, look in zip(
        st.columns(2), ("before", "after"), ("Before tuning", "After tuning"), (before, after), strict=True
    ):
        with column:
            controls.overlay(
                f"heads_{key}", pixels, look, head, title, spec=run.spec, zmax=zmax, fixed=recorded, **screen.fit(SIDE)
            )
    st.markdown(
        f"**Tuning moved {percent(looks.shift(before, after, head))} of this head's attention** "
        f"on {name}, where {controls.asking(before)} asks."
    )


def kept_photograph(kept: Mapping[str, Any]) -> str:
    """The one that the address names, else the first."""
    said = links.read("image") or ""
    return said if said in kept else next(iter(kept))
