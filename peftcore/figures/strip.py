"""A row of images to choose from: each takes a click."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.overlay import picture_layer

GAP = 6  # pixels between neighbouring images


def image_strip(
    images: Sequence[np.ndarray],
    numbers: Sequence[int],
    names: Sequence[str],
    *,
    selected: int | None = None,
    columns: int | None = None,
    side: int = 64,
    dark: bool = False,
) -> go.Figure:
    """Images side by side, each a square of `side` pixels; a click's `customdata` is [number].

    Args:
        images: uint8 (H, W, 3) each. numbers: what the page calls each image. names: its class, shown on hover.
        selected: the number of the outlined image. columns: images per row; by default one row.
    """
    if not len(images) or not len(images) == len(numbers) == len(names):
        raise BadData(
            "An image strip needs at least one image, and a number and a name for each, but got "
            f"{len(images)} images, {len(numbers)} numbers and {len(names)} names."
        )
    columns = columns or len(images)
    rows = -(-len(images) // columns)
    pitch = side + GAP
    width, height = columns * pitch, rows * pitch
    figure = go.Figure()
    places = [(i % columns * pitch + GAP // 2, i // columns * pitch + GAP // 2) for i in range(len(images))]
    for image, (x, y) in zip(images, places, strict=True):
        address, _ = picture_layer(image, shortest=2 * side)
        figure.add_layout_image(
            source=address, xref="x", yref="y", x=x, y=y, sizex=side, sizey=side, sizing="contain", layer="below"
        )
    figure.add_scatter(
        x=[x + side / 2 for x, _ in places],
        y=[y + side / 2 for _, y in places],
        mode="markers",
        name="images",
        customdata=[[int(number)] for number in numbers],
        text=[f"image {number}: {words.plain(name)}" for number, name in zip(numbers, names, strict=True)],
        hovertemplate="%{text}<extra></extra>",
        marker=dict(symbol="square", size=side, line=dict(width=0), opacity=1, color="rgba(0,0,0,0)"),
    )
    for number, (x, y) in zip(numbers, places, strict=True):
        if number == selected:
            box = dict(type="rect", x0=x, x1=x + side, y0=y, y1=y + side, fillcolor="rgba(0,0,0,0)")
            figure.add_shape(**box, line=dict(color="#FFFFFF", width=5))
            figure.add_shape(**box, line=dict(color="#D55E00", width=2.5))
    theme.numbered(figure, {})
    hidden = dict(visible=False, fixedrange=True, showgrid=False)
    figure.update_xaxes(range=[0, width], **hidden)
    figure.update_yaxes(range=[height, 0], scaleanchor="x", **hidden)  # squares stay square in a narrow window
    figure.update_layout(
        template=theme.TEMPLATES[bool(dark)],
        autosize=False,
        width=width,
        height=height,
        uirevision="image-strip",
        margin=dict(l=0, r=0, t=0, b=0),
        dragmode=False,
        hovermode="closest",
        showlegend=False,
    )
    return figure
