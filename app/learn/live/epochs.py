"""Seconds for a number of epochs: LoRA, LAST that computes its features in every epoch, and LAST that reads a cache.

Each time is that of one measured epoch times the number of epochs; filling the cache counts once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from app import captions, theme
from app.drawn import plan
from app.learn.live._recorded import part, slider
from peftcore.figures import theme as look
from peftcore.figures.components import PATTERN, component_colour
from peftcore.figures.method_style import method_colour
from peftcore.figures.words import percent

COUNTS = (1, 2, 5, 10, 20, 50, 100)


def draw(_settings: Mapping[str, Any]) -> None:
    known = part("side")
    count = slider("epochs_count", "epochs", COUNTS, 10, width=420)
    theme.show(plan(bars, known["epoch"], count, theme.is_dark()), "epochs")
    captions.caption(
        f"An epoch of {known['epoch']['images']} images of vit_micro with its validation, in seconds of one core, "
        "measured once for each and multiplied; without the test at the end.",
        known["command"],
    )


def bars(epoch: Mapping[str, float], count: int, dark: bool) -> go.Figure:
    names = ["LoRA", "LAST, features computed each time", "LAST, features from a cache"]
    colours = [method_colour("lora", dark=dark), *[method_colour("last", dark=dark)] * 2]
    runs = [epoch["lora"] * count, epoch["computed"] * count, epoch["cached"] * count]
    once = [0.0, 0.0, epoch["filling"]]
    figure = go.Figure()
    figure.add_bar(
        orientation="h", y=[0, 1, 2], x=once, name="filling the cache, once",
        marker=dict(color=component_colour("cached_features"), pattern=PATTERN | dict(
            shape=".", bgcolor=component_colour("cached_features"), solidity=0.3)),
        hovertemplate="filling the cache: %{x:.1f} s<extra></extra>",
    )  # fmt: skip
    figure.add_bar(
        orientation="h", y=[0, 1, 2], x=runs, name="the epochs", marker_color=colours, showlegend=False,
        text=[f"{a + b:.0f} s" for a, b in zip(runs, once, strict=True)], textposition="outside",
        cliponaxis=False, hovertemplate="the epochs: %{x:.1f} s<extra></extra>",
    )  # fmt: skip
    for place, name in enumerate(names):
        figure.add_annotation(x=0, xanchor="left", y=place - 0.32, yanchor="bottom", text=name,
                              font=dict(size=13, color=look.ink(dark)))  # fmt: skip
    totals = [a + b for a, b in zip(runs, once, strict=True)]
    look.numbered(figure, {"way": names, "epochs": [count] * 3, "seconds": totals})
    figure.update_xaxes(title_text="seconds of one core", range=[0, max(totals) * 1.2])
    figure.update_yaxes(visible=False, range=[2.5, -0.75])
    figure.update_layout(barmode="stack", bargap=0.5)
    plural = "s" * (count != 1)
    title = f"{count} epoch{plural} from the cache take {percent(totals[2] / totals[1])} of the time without it"
    return look.finish(figure, title, name="epochs", dark=dark, height=330, line=90, margin=dict(l=16, b=80))
