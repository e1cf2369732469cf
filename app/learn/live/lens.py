"""What a classifier would say after each layer: one test image of each class, and all of them. Recorded.

`all = true` in the settings adds the accuracy over all test images, layer by layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import captions, repeated, theme
from app.drawn import plan
from app.learn.live._recorded import choose, part, slider, unpacked
from peftcore.figures import theme as look
from peftcore.figures.attention import patch_picker
from peftcore.figures.words import percent
from peftcore.store import gallery

HEIGHT = 330


def draw(settings: Mapping[str, Any]) -> None:
    known = part("walk")["lens"]
    depth = len(known["accuracy"]) - 1
    with st.container(horizontal=True, vertical_alignment="bottom"):
        image = choose(
            "lens_digit", "test image of a", range(len(known["classes"])), 3, show=known["classes"].__getitem__
        )
        layer = slider("lens_layer", "layers passed", range(depth + 1), depth, width=300)
    with st.container(key=repeated.key_of("wrap_lens")):
        columns = st.columns([3, 6, 6] if settings.get("all") else [3, 9], gap="small")
    with columns[0]:
        pixels = np.repeat(unpacked(known["pictures"][image])[..., None], 3, axis=2)
        shown = plan(patch_picker, pixels, tuple(part("walk")["grid"]), title=f"A {known['classes'][image]}",
                             dark=theme.is_dark(), width=200)  # fmt: skip
        theme.show(shown, "lens_picture", alt=f"A handwritten {known['classes'][image]}, cut into patches")
    with columns[1]:
        theme.show(plan(bars, known, image, layer, theme.is_dark()), "lens_bars")
    if settings.get("all"):
        with columns[2]:
            theme.show(plan(accuracies, known, layer, theme.is_dark()), "lens_accuracy")
    captions.caption(
        f"The final norm, the pooling and the trained classifier of the run “{gallery.record(known['run'])['title']}”, "
        f"applied to the tokens after each layer, as if the model ended there; {known['images']} test images.",
        part("walk")["command"],
    )


def bars(known: Mapping[str, Any], image: int, layer: int, dark: bool) -> go.Figure:
    """How probable each class is for one image after `layer` layers."""
    values, classes = known["probabilities"][image][layer], known["classes"]
    said = int(np.argmax(values))
    right = said == image
    colours = ["#D55E00" if number == image else look.muted(dark) for number in range(len(classes))]
    figure = go.Figure(
        go.Bar(
            x=classes, y=values, marker_color=colours, name="probability",
            text=["true class" if number == image else "" for number in range(len(classes))], textposition="outside",
            constraintext="none",
            hovertemplate="%{x}: %{y:.1%}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="class", type="category")
    figure.update_yaxes(title_text="probability", range=[0, 1.12], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    where = f"After {layer} layer{'s' * (layer != 1)}" if layer else "Before the first layer"
    title = f"{where} it says {classes[said]}, {'rightly' if right else 'wrongly'}, at {percent(values[said])}"
    return look.finish(figure, title, name="lens-bars", dark=dark, height=HEIGHT)


def accuracies(known: Mapping[str, Any], layer: int, dark: bool) -> go.Figure:
    """Accuracy over the test images by layer, the layer that is looked at marked."""
    rates = known["accuracy"]
    figure = go.Figure()
    figure.add_scatter(
        x=list(range(len(rates))), y=rates, mode="lines+markers", name="accuracy", line_color=look.CATEGORIES[0],
        hovertemplate="after %{x} layers: %{y:.1%}<extra></extra>", showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=[layer], y=[rates[layer]], mode="markers", name="layer shown", hoverinfo="skip", showlegend=False,
        marker=dict(size=15, color="rgba(0,0,0,0)", line=dict(width=2.5, color="#D55E00")),
    )  # fmt: skip
    chance = 1 / len(known["classes"])
    figure.add_hline(y=chance, line=dict(color=look.muted(dark), width=1, dash="dot"))
    figure.add_annotation(x=0, y=chance, text="chance", xanchor="left", yanchor="bottom")
    figure.update_xaxes(title_text="layers passed", tickvals=list(range(len(rates))))
    figure.update_yaxes(title_text="test accuracy", range=[0, 1.05], tickformat=".0%")
    gains = np.diff(rates)
    most = int(gains.argmax())
    title = f"Layer {most + 1} adds the most: {100 * gains[most]:.0f} points"
    return look.finish(figure, title, name="lens-accuracy", dark=dark, height=HEIGHT)
