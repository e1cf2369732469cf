"""A small layer whose reader says how far k and v shall go along with q, and sees what one shared pair makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import links, theme
from app.captions import caption
from app.drawn import plan
from app.learn.shared_pair import example, nearest
from peftcore.figures.shared_pair import wanted_and_made

SHARES = tuple(share / 10 for share in range(11))
WIDTH = 6


def draw(settings: Mapping[str, Any]) -> None:
    left, right = st.columns(2)
    with left:
        together = links.choice(
            st.select_slider, "learn", "shared_together", "how far k and v go along with q", SHARES, default=0.0,
            show=lambda share: f"{share:.0%}", code=lambda share: f"{share:g}",
        )  # fmt: skip
    with right:
        rank = links.choice(
            st.select_slider, "learn", "shared_rank", "rank of the shared pair", range(1, WIDTH + 1), default=1
        )
    weights, wanted = example(together, WIDTH)
    fit = nearest(weights, wanted, rank)
    figure = plan(wanted_and_made, wanted, fit.made, fit.missed, rank=rank, dark=theme.is_dark())
    theme.show(figure, "shared_pair")
    caption(
        f"A layer of width {WIDTH} with random frozen weights. Above: updates that are wanted of q, k and v, each of "
        "rank 1. Below: the nearest ones that a single pair before all three makes, by least squares. LoRA with a pair "
        "for each projection makes all three exactly at rank 1, whatever is wanted."
    )
