"""A map laid over its image: the canvas that keeps the image's proportions, the heat above it, a patch's frame."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.colors import get_colorscale, sample_colorscale

from peftcore.errors import BadData
from peftcore.figures import theme

MARGIN = dict(l=4, r=4, t=50, b=4)


def picture_layer(image: np.ndarray, shortest: int = 320) -> tuple[str, np.ndarray]:
    """A PNG data URL of the image, enlarged smoothly if small, and the checked image itself."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        given = f"{image.dtype} of shape {image.shape}"
        raise BadData(f"An image must be uint8 of shape (height, width, 3), but got {given}.")
    drawn = Image.fromarray(image)
    factor = max(1, round(shortest / min(image.shape[:2])))
    if factor > 1:
        drawn = drawn.resize((image.shape[1] * factor, image.shape[0] * factor), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), image


def canvas(image: np.ndarray, width: int) -> tuple[go.Figure, tuple[float, float]]:
    """The image in a bare figure, x from 0 to 1, y from 0 (top) to 1; and its size in pixels."""
    address, image = picture_layer(image)
    across = width - MARGIN["l"] - MARGIN["r"]
    down = round(across * image.shape[0] / image.shape[1])
    figure = go.Figure()
    figure.add_layout_image(
        source=address, xref="x", yref="y", x=0, y=0, sizex=1, sizey=1, sizing="stretch", layer="below"
    )
    hidden = dict(visible=False, fixedrange=True, showgrid=False)
    figure.update_xaxes(range=[0, 1], **hidden)
    figure.update_yaxes(range=[1, 0], **hidden)
    figure.update_layout(autosize=False, dragmode=False, hovermode="closest", showlegend=False)
    return figure, (across, down)


def finished(
    figure: go.Figure, size: tuple[float, float], width: int, title: str, note: str, name: str, dark: bool
) -> go.Figure:
    """The figure with its title, as high as its image of this size asks; `width` in pixels."""
    line = max(20, int(width / 7.6))
    top = theme.title_height(title, line, note)
    return theme.finish(
        figure,
        title,
        name=name,
        dark=dark,
        width=width,
        height=int(size[1] + top + MARGIN["b"]),
        note=note,
        margin=MARGIN | dict(t=top),
        line=line,
    )


def frame(figure: go.Figure, patch: tuple[int, int], shape: tuple[int, int]) -> None:
    """Outline one patch in two colours, so that it is seen on any image."""
    (row, column), (rows, columns) = patch, shape
    box = dict(
        type="rect",
        x0=column / columns,
        x1=(column + 1) / columns,
        y0=row / rows,
        y1=(row + 1) / rows,
        fillcolor="rgba(0,0,0,0)",
    )
    figure.add_shape(**box, line=dict(color="#FFFFFF", width=5))
    figure.add_shape(**box, line=dict(color="#D55E00", width=2.5))


def heat_colours(strength: float) -> list[list]:
    """Cividis, from half transparent to `strength`: where nothing is attended, the image stays visible."""
    stops = np.linspace(0, 1, 9)
    colours = sample_colorscale(get_colorscale(theme.SEQUENTIAL), stops.tolist(), colortype="tuple")
    return [
        [float(stop), f"rgba({r * 255:.0f},{g * 255:.0f},{b * 255:.0f},{0.45 + (strength - 0.45) * stop:.3f})"]
        for stop, (r, g, b) in zip(stops, colours, strict=True)
    ]


def heat_layer(
    figure: go.Figure,
    grid: np.ndarray,
    scale: list,
    low: float,
    high: float,
    smooth: bool,
    texts: Sequence[str] | None = None,
) -> None:
    """The map as a heat layer, one cell per patch, or interpolated between their centres.

    `texts`: what each patch says when pointed at, in reading order; a click's `customdata` is then [row, column].
    Without them the layer takes neither.
    """
    rows, columns = grid.shape
    said = (
        dict(
            name="patches",
            text=np.reshape(texts, grid.shape).tolist(),
            customdata=np.moveaxis(np.indices(grid.shape), 0, -1).tolist(),
            hovertemplate="%{text}<extra></extra>",
        )
        if texts is not None
        else dict(hoverinfo="skip")
    )
    figure.add_heatmap(
        z=grid,
        x0=0.5 / columns,
        dx=1 / columns,
        y0=0.5 / rows,
        dy=1 / rows,
        zmin=low,
        zmax=high,
        colorscale=scale,
        zsmooth="best" if smooth else False,
        showscale=False,
        **said,
    )


def map_columns(shape: tuple[int, ...], **grids: np.ndarray) -> dict[str, list]:
    """The numbers of maps as columns: row and column, both from 1, and each map's value."""
    rows, columns = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    places = {"row": (rows + 1).tolist(), "column": (columns + 1).tolist()}
    return places | {name: grid.ravel().tolist() for name, grid in grids.items()}
