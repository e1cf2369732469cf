"""The loss while one head's update shrinks, and the tangent that the gradient gives; then all heads at once. Recorded.

`all = true` in the settings shows every head's change beside what its tangent says, at the size that is chosen;
`steepest = true` only the curve of the most responsive head, with its update off.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from app import captions, links, repeated, screen, theme
from app.drawn import plan
from app.learn.live._recorded import choose, part, slider
from peftcore.figures import theme as look
from peftcore.figures.heads import head_grid
from peftcore.figures.words import percent
from peftcore.store import gallery

MINUS = "\N{MINUS SIGN}"


def draw(settings: Mapping[str, Any]) -> None:
    known = part("taylor")
    sizes, best = known["sizes"], known["best"]
    projections = known["projections"]
    everything = bool(settings.get("all"))
    if settings.get("steepest"):
        place = best["layer"] - 1, projections.index(best["projection"]), best["head"] - 1
        losses, slope = np.array(known["losses"])[place], float(np.array(known["slopes"])[place])
        name = f"Head {best['head']} of layer {best['layer']}, {best['projection']}"
        theme.show(plan(curve, known, losses, slope, 0.0, name, theme.is_dark()), "shrink_steepest")
        return _caption(known)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        size = slider("shrink_size", "size of its update", sizes, sizes[-2] if everything else sizes[-1],
                      show=lambda one: f"{one:g}", width=380)  # fmt: skip
        if not everything:
            projection = choose("shrink_projection", "projection", projections, best["projection"])
    if everything:
        theme.show(plan(scatter, known, size, theme.is_dark()), "shrink_all")
    else:
        _one(known, size, projections.index(projection))
    _caption(known)


def _caption(known: Mapping[str, Any]) -> None:
    captions.caption(
        f"The run “{gallery.record(known['run'])['title']}” on {known['images']} validation images: the mean loss with "
        "the update of one head at a part of its size, all else as trained; the tangent is the gradient at the whole.",
        known["command"],
    )


def _one(known: Mapping[str, Any], size: float, number: int) -> None:
    slopes = np.array(known["slopes"])[:, number]
    layers, heads = slopes.shape
    top = np.unravel_index(int(np.abs(slopes).argmax()), slopes.shape)
    layer = links.number("shrink_layer", 1, layers, int(top[0]) + 1) - 1
    head = links.number("shrink_head", 1, heads, int(top[1]) + 1) - 1
    with st.container(key=repeated.key_of("wrap_shrink")):
        left, right = st.columns([9, 11], gap="small")
    with left:
        grid = plan(
            head_grid, np.abs(slopes), [f"layer {n + 1}" for n in range(layers)], score="taylor",
            projection=known["projections"][number], selected=(layer, head), title="Steepness of each head: click one",
            **screen.fit(440, 430), dark=theme.is_dark(),
        )  # fmt: skip
        theme.show(grid, "shrink_grid", on_click=_pick)
    with right:
        losses = np.array(known["losses"])[layer, number, head]
        drawn = plan(curve, known, losses, float(slopes[layer, head]), size, f"Head {head + 1} of layer {layer + 1}",
                      theme.is_dark())  # fmt: skip
        theme.show(drawn, "shrink_curve")


def _pick() -> None:
    if said := links.clicked("shrink_grid"):
        links.write(shrink_layer=said[0] + 1, shrink_head=said[1] + 1)


def curve(known: Mapping[str, Any], losses: np.ndarray, slope: float, size: float, name: str, dark: bool) -> go.Figure:
    """`losses` at `known["sizes"]`; `slope` at the whole update."""
    sizes, loss = np.array(known["sizes"]), known["loss"]
    tangent = loss + (sizes - 1) * slope
    here = int(np.argmin(np.abs(sizes - size)))
    figure = go.Figure()
    figure.add_scatter(
        x=sizes, y=losses, mode="lines+markers", name="loss, measured", line=dict(color=look.CATEGORIES[0], width=2.5),
        hovertemplate="size %{x:g}: loss %{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=sizes, y=tangent, mode="lines", name="tangent at the whole update",
        line=dict(color="#D55E00", width=2, dash="dash"), hovertemplate="size %{x:g}: tangent %{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[sizes[here]] * 2, y=[losses[here], tangent[here]], mode="markers+lines", name="signs", hoverinfo="skip",
        showlegend=False, line=dict(color=look.muted(dark), width=1.5, dash="dot"),
        marker=dict(size=13, symbol="circle-open", color=[look.CATEGORIES[0], "#D55E00"], line_width=3),
    )  # fmt: skip
    figure.update_xaxes(title_text="size of this head's update (1: as trained, 0: off)", range=[-0.04, 1.04])
    low, high = min(losses.min(), tangent.min()), max(losses.max(), tangent.max())
    room = 0.12 * (high - low) or 0.01
    figure.update_yaxes(title_text="loss (nats)", range=[low - room, high + room])
    if size == sizes[-1]:
        title = f"{name}: shrink its update, and see whether the loss follows the tangent"
    else:
        title = (
            f"{name} at {size:g}: the loss changes by {_signed(losses[here] - loss)}, the tangent says "
            f"{_signed(tangent[here] - loss)}"
        )
    return look.finish(figure, title, name="shrink-curve", dark=dark, height=430, margin=dict(b=84), line=62)


def _signed(value: float) -> str:
    return f"{value:+.2g}".replace("-", MINUS)


def scatter(known: Mapping[str, Any], size: float, dark: bool) -> go.Figure:
    """Each head: what its tangent says at this size, and what was measured."""
    slopes, losses, sizes = np.array(known["slopes"]), np.array(known["losses"]), known["sizes"]
    here = sizes.index(size)
    said, found = (size - 1) * slopes, losses[..., here] - known["loss"]
    figure = go.Figure()
    for number, projection in enumerate(known["projections"]):
        x, y = said[:, number].ravel(), found[:, number].ravel()
        heads = said.shape[2]
        figure.add_scatter(
            x=x, y=y, mode="markers", name=f"{projection} projection",
            marker=dict(size=8, symbol=look.SYMBOLS[number], color=look.CATEGORIES[number], opacity=0.8),
            text=[f"layer {n // heads + 1}, head {n % heads + 1}, {projection}" for n in range(len(x))],
            hovertemplate="%{text}<br>tangent %{x:+.2g}, measured %{y:+.2g}<extra></extra>",
        )  # fmt: skip
    reach = 1.08 * max(float(np.abs(said).max()), float(np.abs(found).max()), 1e-9)
    figure.add_shape(type="line", x0=-reach, y0=-reach, x1=reach, y1=reach,
                     line=dict(color=look.muted(dark), width=1.2, dash="dot"))  # fmt: skip
    figure.add_annotation(x=reach, y=reach, text="as the tangent says", xanchor="right", yanchor="bottom",
                          font_size=11.5)  # fmt: skip
    figure.update_xaxes(title_text="change of the loss by the tangent (nats)", range=[-reach, reach], zeroline=True)
    figure.update_yaxes(title_text="change of the loss, measured (nats)", range=[-reach, reach], zeroline=True)
    if size == sizes[-1]:
        title = "At the whole update nothing has changed: move the slider"
    else:
        error = float(np.abs(found - said).sum() / max(np.abs(found).sum(), 1e-12))
        title = f"At size {size:g} the tangents of {said.size} updates miss {percent(error)} of the change"
    return look.finish(figure, title, name="shrink-all", dark=dark, height=470, line=90, margin=dict(b=84))
