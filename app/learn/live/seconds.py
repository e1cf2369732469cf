"""Accuracy while the seconds pass: what each method has reached when the reader's time is up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import links, theme
from app.captions import caption
from app.drawn import plan
from app.learn import mini
from peftcore.figures.budgets import against_time

SECONDS = (5, 10, 15, 20, 30, 45, 60, 80)
FEW = ("linear", "last", "lora", "serial_lora", "heart_lora", "full")


def draw(settings: Mapping[str, Any]) -> None:
    places = st.columns([3, 2], vertical_alignment="bottom")
    with places[0]:
        at = links.choice(
            st.select_slider, "learn", "seconds_at", "your time: seconds", SECONDS, default=SECONDS[-1], show=str
        )
    with places[1]:
        shown = links.choice(
            st.segmented_control, "learn", "seconds_of", "methods", ["few", "all"], default="few", required=True,
            show={"few": "six", "all": "all"}.__getitem__,
        )  # fmt: skip
    rows = [row for row in mini.rows() if row["budget"] == "time" and (shown == "all" or row["method"] in FEW)]
    theme.show(plan(against_time, rows, at=at, chances=mini.record()["chance"], dark=theme.is_dark()), "seconds")
    caption(
        f"Recorded runs of {mini.BACKBONE} on the mini-VTAB{mini.since()}, each with as many epochs as fit into the "
        "time of ten epochs of LoRA on one core; its learning rate falls to zero by then. A side method first computes "
        "the frozen features of all images, once. Band: the spread over seeds.",
        mini.record()["command"],
    )
