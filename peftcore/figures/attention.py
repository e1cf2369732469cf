"""Attention on the image: one query's map as heat over the picture, patches to click, and differences.

All pictures keep the image's proportions and have a fixed size in pixels.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from peftcore.errors import BadData
from peftcore.figures import lettering, theme, words
from peftcore.figures.overlay import canvas, finished, frame, heat_colours, heat_layer, map_columns, picture_layer


def _grid(grid: np.ndarray) -> np.ndarray:
    grid = np.asarray(grid, float)
    if grid.ndim != 2 or not np.isfinite(grid).all():
        raise BadData(f"An attention map must be finite numbers (rows, columns), but got shape {grid.shape}.")
    return grid


def attention_overlay(
    image: np.ndarray,
    grid: np.ndarray,
    query: tuple[int, int] | None = None,
    title: str = "",
    zmax: float | None = None,
    *,
    note: str = "",
    smooth: bool = False,
    strength: float = 0.85,
    width: int = 320,
    dark: bool = False,
) -> go.Figure:
    """An image under the attention that one query gives to each patch.

    Args:
        image: uint8 (H, W, 3). grid: (rows, columns), one weight per patch.
        query: (row, column) of the asking patch, outlined; None for a map without one (the class token's).
        title: the finding; by default, how much attention the strongest tenth of the patches gets.
        zmax: the weight of the brightest colour; the same for maps that are to be compared.

    A click's `customdata` is [row, column], so any map can also pick the next query.
    """
    grid = _grid(grid)
    figure, size = canvas(image, width)
    total = grid.sum() or 1.0
    uniform = total / grid.size
    texts = [
        f"row {r + 1}, column {c + 1}<br>{words.percent(value)} of the attention"
        f"<br>{value / uniform:.1f} times the mean patch"
        for (r, c), value in np.ndenumerate(grid)
    ]
    heat_layer(figure, grid, heat_colours(strength), 0.0, zmax or float(grid.max()) or 1.0, smooth, texts)
    if query is not None:
        frame(figure, query, grid.shape)
    theme.numbered(figure, map_columns(grid.shape, attention=grid))
    if not title:
        top = np.sort(grid.ravel())[::-1][: max(1, round(grid.size / 10))].sum() / total
        title = f"A tenth of the patches gets {words.percent(top)}"
    return finished(figure, size, width, title, note, "attention", dark)


def patch_picker(
    image: np.ndarray,
    grid_shape: tuple[int, int],
    selected: tuple[int, int] | None = None,
    *,
    title: str = "Click the patch that asks",
    note: str = "",
    width: int = 320,
    dark: bool = False,
) -> go.Figure:
    """The plain image with one clickable square per patch; a click's `customdata` is [row, column]."""
    rows, columns = grid_shape
    figure, size = canvas(image, width)
    line = dict(color="rgba(255,255,255,0.35)", width=0.6)
    for row in range(1, rows):
        figure.add_shape(type="line", x0=0, x1=1, y0=row / rows, y1=row / rows, line=line)
    for column in range(1, columns):
        figure.add_shape(type="line", x0=column / columns, x1=column / columns, y0=0, y1=1, line=line)
    if selected is not None:
        frame(figure, selected, grid_shape)
    texts = [f"row {r + 1}, column {c + 1}" for r in range(rows) for c in range(columns)]
    clear = [[0, "rgba(0,0,0,0)"], [1, "rgba(0,0,0,0)"]]
    heat_layer(figure, np.zeros(grid_shape), clear, 0.0, 1.0, smooth=False, texts=texts)
    theme.numbered(figure, {})
    return finished(figure, size, width, title, note, "patches", dark)


def attention_difference(
    a: np.ndarray,
    b: np.ndarray,
    *,
    image: np.ndarray | None = None,
    names: tuple[str, str] = ("a", "b"),
    query: tuple[int, int] | None = None,
    title: str = "",
    zmax: float | None = None,
    width: int = 320,
    dark: bool = False,
) -> go.Figure:
    """Where `b` attends more (orange) and less (blue) than `a`, both scaled to sum 1 over the patches.

    Args:
        a, b: (rows, columns), the same shape. image: laid underneath, in grey, where given.
        names: what `a` and `b` are, for title and hover. zmax: the difference of the strongest colour.
    """
    a, b = _grid(a), _grid(b)
    if a.shape != b.shape:
        raise BadData(f"Two attention maps must have the same grid to be compared, but got {a.shape} and {b.shape}.")
    a, b = a / (a.sum() or 1.0), b / (b.sum() or 1.0)
    gap = b - a
    first, second = words.plain(names[0]), words.plain(names[1])
    blank = np.full((*a.shape, 3), 245, np.uint8)
    under = blank if image is None else _grey(image)
    figure, size = canvas(under, width)
    reach = zmax or float(np.abs(gap).max()) or 1.0
    scale = [
        [stop, _clear(colour, 1.0 if image is None else 0.25 + 0.65 * abs(2 * stop - 1))]
        for stop, colour in theme.DIVERGING
    ]
    texts = [
        f"row {r + 1}, column {c + 1}<br>{first} {words.percent(float(a[r, c]))}"
        f"<br>{second} {words.percent(float(b[r, c]))}"
        f"<br>{100 * value:+.{1 if abs(value) > 0.001 else 3}f} points"
        for (r, c), value in np.ndenumerate(gap)
    ]
    heat_layer(figure, gap, scale, -reach, reach, smooth=False, texts=texts)
    rows, columns = (axis.ravel() + 0.5 for axis in np.indices(gap.shape))
    lettering.signs(figure, (columns / a.shape[1], rows / a.shape[0]), gap.ravel(), reach, size=12)
    if query is not None:
        frame(figure, query, a.shape)
    theme.numbered(figure, map_columns(a.shape, **{names[0]: a, names[1]: b, "difference": gap}))
    moved = 0.5 * np.abs(gap).sum()  # total variation distance
    return finished(
        figure,
        size,
        width,
        title or f"{words.percent(moved)} of the attention differs",
        f"orange (+): more in {second}, blue (\N{MINUS SIGN}): less",
        "attention-difference",
        dark,
    )


def _grey(image: np.ndarray) -> np.ndarray:
    _, image = picture_layer(image)
    return np.asarray(Image.fromarray(image).convert("L").convert("RGB"))


def _clear(colour: str, opacity: float) -> str:
    r, g, b = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({r},{g},{b},{opacity:.3f})"
