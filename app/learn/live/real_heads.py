"""Where every head of a larger, real model looks on a photograph, before any tuning. From the atlas's recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from app import cached, captions, looks, recordings, repeated, screen, subjects, theme
from app.drawn import plan
from app.learn.live._recorded import choose
from peftcore.figures.attention import patch_picker
from peftcore.figures.head_maps import head_maps

SIDE = 300  # pixels of the photograph in a laptop's window


def draw(_settings: Mapping[str, Any]) -> None:
    if not (found := subjects.looked_through()):
        st.info("The recordings of this figure are not in the atlas of this machine.", icon=":material/grid_off:")
        return
    run, kept = found[0], recordings.looks(found[0].subject.id)
    photo = choose("real_heads_photo", "photograph", list(kept), next(iter(kept)), show=cached.PHOTOS.__getitem__)
    maps = np.stack([looks.recorded(one).maps for one in kept[photo]["before"]])
    layers, heads, rows, columns = maps.shape
    pixels = cached.photograph(photo, kept[photo]["side"])
    with st.container(key=repeated.key_of("wrap_real_heads")):
        left, right = st.columns([4, 6], gap="medium")
    with left:
        shown = plan(
            patch_picker, pixels, (rows, columns), title="The photograph, cut into patches", dark=theme.is_dark(),
            **screen.fit(SIDE),
        )  # fmt: skip
        theme.show(shown, "real_heads_picture", alt=f"The photograph {cached.PHOTOS[photo]}")
    with right:
        theme.show(plan(head_maps, maps, **screen.fit(480, 860), dark=theme.is_dark()), "real_heads")
    captions.caption(
        f"{run.of}: where the class token looks in each of {heads} heads of {layers} layers, over {rows} x {columns} "
        f"patches of scikit-learn's photograph {cached.PHOTOS[photo]}. Each map is brightest where its head looks most."
    )
