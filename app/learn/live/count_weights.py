"""How many weights LoRA and Serial LoRA train: rank, width and depth are the reader's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import links, theme
from app.captions import caption
from app.drawn import plan
from peftcore.figures.shared_pair import weight_counts

RANKS, WIDTHS, DEPTHS = (1, 2, 4, 8, 16, 32, 64), (128, 192, 384, 768, 1024, 1408), (8, 12, 24, 40)
KINDS = {"Serial LoRA": ("serial_lora", 1), "LoRA on q, v": ("lora", 2), "LoRA on q, k, v, proj": ("lora", 4)}


def draw(settings: Mapping[str, Any]) -> None:
    left, middle, right = st.columns(3)
    with left:
        rank = _slider("rank", "rank r", RANKS, 8)
    with middle:
        width = _slider("width", "width d", WIDTHS, settings.get("width", 768))
    with right:
        depth = _slider("depth", "blocks", DEPTHS, settings.get("depth", 12))
    counts = {name: 2 * width * rank * pairs * depth for name, (_, pairs) in KINDS.items()}
    figure = plan(weight_counts, counts, {name: method for name, (method, _) in KINDS.items()}, dark=theme.is_dark())
    theme.show(figure, "count_weights")
    caption(
        f"A pair of rank {rank} between {width} and {width} features has 2 x {width} x {rank} = {2 * width * rank:,} "
        f"weights; {depth} blocks have one each (Serial LoRA), two (LoRA on q and v) or four."
    )


def _slider(name: str, label: str, options: tuple[int, ...], default: int) -> int:
    return links.choice(st.select_slider, "learn", f"count_{name}", label, options, default=default)
