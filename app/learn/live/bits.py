"""A trained matrix with fewer bits: its weights beside the levels that are left, and the accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app import links, theme
from app.captions import caption
from app.drawn import plan
from app.learn import facts
from peftcore.figures.bits import accuracy_by_bits, values_and_levels
from peftcore.figures.words import in_a_row, si_bytes

HOW = {"after": "rounded after training", "while": "trained with its bits"}


def draw(settings: Mapping[str, Any]) -> None:
    """`show`: "matrix" for the histogram alone, "both" with the accuracies beside it."""
    found, both = facts.TABLES["measured"]["bits"], settings.get("show") == "both"
    runs = {how: facts.TABLES["runs"][found[how]["run"]] for how in HOW}
    how = "after"
    if both:
        how = links.choice(
            st.segmented_control, "learn", "bits_run", "weights of", list(HOW), default="while", required=True,
            show=lambda one: f"{runs[one]['title']}: {HOW[one]}",
        )  # fmt: skip
    left, right = st.columns([1, 1])
    with left:
        bits = links.choice(
            st.select_slider, "learn", "bits_count", "bits for each weight", found["bits"], default=2,
        )  # fmt: skip
    matrices = found[how]["matrices"]
    names = [f"layer {one['layer']}, {one['projection']}, {one['matrix']}" for one in matrices]
    with right:
        nth = links.choice(
            st.selectbox, "learn", "bits_matrix", "matrix", range(len(names)), default=0, show=names.__getitem__
        )
    one, row = matrices[nth], found[how]["by_bits"][str(bits)]
    images = in_a_row([f"{found[each]['images']:,} of {runs[each]['title']}" for each in HOW])
    histogram = plan(
        values_and_levels, one["counts"], found["levels"].get(str(bits)), bits=bits,
        error=one["errors"][str(bits)], edge=found["edge"], dark=theme.is_dark(),
    )  # fmt: skip
    places = st.columns(2) if both else [st.container()]
    with places[0]:
        theme.show(histogram, "bits_matrix", spec=runs[how]["spec"])
    if both:
        curves = [
            {"name": f"{runs[each]['title']}", "method": runs[each]["spec"]["method"]["name"], **found[each]}
            for each in HOW
        ]
        with places[1]:
            theme.show(plan(accuracy_by_bits, curves, bits=bits, dark=theme.is_dark()), "bits_accuracy")
    caption(
        f"{names[nth][:1].upper()}{names[nth][1:]} of the recorded run {runs[how]['title']}, seed "
        f"{runs[how]['spec']['seed']}: {one['count']:,} weights. All its {len(matrices)} matrices with {bits} bits "
        f"take {si_bytes(row['bytes'])}; "
        "the classifier, which stays in 32 bits, is not counted."
        + (f" Accuracies: all test images, {images}." if both else ""),
        found["command"],
    )
