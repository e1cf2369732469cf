"""How far each head of each layer looks, in the mean over images and asking patches. Recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app import captions, theme
from app.drawn import plan
from app.learn.live._recorded import part
from peftcore.figures import theme as look


def draw(_settings: Mapping[str, Any]) -> None:
    known = part("walk")["reach"]
    theme.show(plan(dots, np.array(known["values"]), known["even"], theme.is_dark()), "reach")
    captions.caption(
        "One dot per head: the mean distance from an asking patch to where its attention lies, in patches, in the "
        f"frozen vit_micro over {known['images']} test images of {', '.join(known['tasks'])}.",
        part("walk")["command"],
    )


def dots(values: np.ndarray, even: float, dark: bool) -> go.Figure:
    """`values` (layers, heads): distances in patches; `even`: of attention that is spread evenly."""
    layers, heads = values.shape
    figure = go.Figure()
    figure.add_scatter(
        x=np.repeat(np.arange(1, layers + 1), heads), y=values.ravel(), mode="markers", name="head", showlegend=False,
        marker=dict(size=9, color=look.CATEGORIES[0], opacity=0.75),
        text=[f"head {h + 1}" for h in range(heads)] * layers,
        hovertemplate="layer %{x}, %{text}: %{y:.1f} patches<extra></extra>",
    )  # fmt: skip
    figure.add_hline(y=even, line=dict(color=look.muted(dark), width=1.2, dash="dot"))
    free = 2 + int(values[1:-1].max(1).argmin()) if layers > 2 else 1  # the layer with the most room at the line
    figure.add_annotation(
        x=free, xanchor="center", y=even, yanchor="bottom", text="attention spread evenly over the image"
    )
    figure.update_xaxes(title_text="layer", dtick=1, range=[0.5, layers + 0.5])
    figure.update_yaxes(title_text="distance (patches)", range=[0, max(float(values.max()), even) * 1.15])
    near, far = (divmod(int(place), heads) for place in (values.argmin(), values.argmax()))
    title = (
        f"The nearest head looks {values.min():.1f} patches away (layer {near[0] + 1}), the farthest "
        f"{values.max():.1f} (layer {far[0] + 1})"
    )
    return look.finish(figure, title, name="reach", dark=dark, height=320, line=90)
