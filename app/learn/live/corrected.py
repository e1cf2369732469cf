"""Accuracies with LAST's bias correction and without: switched off after training, and trained without. Measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from app import captions, theme
from app.drawn import plan
from app.learn.live._recorded import part
from peftcore.figures import theme as look
from peftcore.figures.method_style import method_colour
from peftcore.figures.words import percent
from peftcore.store import gallery
from peftcore.store.results import wilson


def draw(_settings: Mapping[str, Any]) -> None:
    known = part("side")
    theme.show(plan(bars, known, theme.is_dark()), "corrected")
    captions.caption(
        f"Accuracy on {known['test_images']} test images with its 95 % interval. Left: the run "
        f"“{gallery.record(known['run'])['title']}” as it was recorded. Right: the same recipe for "
        f"{known['trained']['epochs']} epochs, one run each, the same seed.",
        known["command"],
    )


def bars(known: Mapping[str, Any], dark: bool) -> go.Figure:
    ways = ["switched after training", f"trained anew, {known['trained']['epochs']} epochs"]
    figure, images = go.Figure(), known["test_images"]
    for name, key, shape in (("with the correction", "with", ""), ("without it", "without", "/")):
        rates = [known["switched"][key], known["trained"][key]]
        low, high = zip(*(wilson(rate, images) for rate in rates), strict=True)
        colour, letters = method_colour("last", dark=dark), "#FFFFFF" if not shape else look.ink(dark)
        figure.add_bar(
            x=ways, y=rates, name=name, text=[percent(rate) for rate in rates], textposition="inside",
            insidetextanchor="middle", constraintext="none", textfont_color=letters,
            marker=dict(color=colour, line=dict(color=colour, width=1.5),
                        pattern=dict(shape=shape, fgcolor=colour, bgcolor="rgba(0,0,0,0)", solidity=0.15)),
            error_y=dict(type="data", symmetric=False, array=[b - a for a, b in zip(rates, high, strict=True)],
                         arrayminus=[a - b for a, b in zip(rates, low, strict=True)], color=look.muted(dark)),
            hovertemplate=f"{name}, %{{x}}: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    figure.update_yaxes(title_text="test accuracy", range=[0, 1.05], tickformat=".0%")
    figure.update_layout(barmode="group", bargap=0.45)
    lost = 100 * (known["switched"]["with"] - known["switched"]["without"])
    again = 100 * (known["trained"]["with"] - known["trained"]["without"])
    title = f"Switching it off after training {_points(lost)}, training without it {_points(again)}"
    return look.finish(figure, title, name="corrected", dark=dark, height=350, line=90, margin=dict(b=70))


def _points(lost: float) -> str:
    """'costs 22 points', 'gains 1', 'costs nothing'."""
    whole = round(abs(lost))
    if not whole:
        return "costs nothing"
    return f"{'costs' if lost > 0 else 'gains'} {whole} point{'s' * (whole != 1)}"
