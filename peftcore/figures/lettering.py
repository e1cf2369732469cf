"""Text on coloured cells: black or white, whichever can be read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.colors import get_colorscale, sample_colorscale

from peftcore.figures import theme


def ink_on(shares: np.ndarray, scale: str | Sequence = theme.SEQUENTIAL) -> list[str]:
    """Black or white for text on each of these colours, `shares` (n,) from 0 to 1 of a scale: whichever stands out
    more, which is 4.5 to 1 at least (WCAG AA)."""
    scale = get_colorscale(scale) if isinstance(scale, str) else [list(stop) for stop in scale]
    colours = np.array(sample_colorscale(scale, np.clip(shares, 0, 1).tolist(), colortype="tuple")).reshape(-1, 3)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05, "#FFFFFF", "#000000").tolist()


def write(
    figure: go.Figure,
    places: tuple[np.ndarray, np.ndarray],
    texts: Sequence[str],
    shares: np.ndarray,
    *,
    size: int,
    scale: str | Sequence = theme.SEQUENTIAL,
) -> None:
    """A layer of text over coloured cells, legible on each; it takes neither hover nor clicks.

    Args:
        places: x and y of the cells (n,). shares: (n,) where each cell's colour is on the scale, from 0 to 1.
    """
    figure.add_scatter(
        x=places[0], y=places[1], text=texts, mode="text", hoverinfo="skip", showlegend=False, name="signs",
        textfont=dict(size=size, color=ink_on(shares, scale)),
    )  # fmt: skip


def signs(
    figure: go.Figure, places: tuple[np.ndarray, np.ndarray], values: np.ndarray, reach: float, *, size: int
) -> None:
    """A plus or a minus on each strong cell, since the diverging scale loses its sign in grey. `values`: (n,)."""
    strong = values / reach
    said = ["" if abs(value) < 0.45 else "+" if value > 0 else "\N{MINUS SIGN}" for value in strong]
    write(figure, places, said, (strong + 1) / 2, size=size, scale=theme.DIVERGING)
