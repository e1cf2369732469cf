"""Many head grids at once, as small pictures in one scale of colours, on a page and on a sheet to take away."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from plotly.colors import get_colorscale, hex_to_rgb

from peftcore.figures import theme
from peftcore.figures.squares import Scale

CELL, GAP = 20, 2  # pixels of a small grid's square and between squares
OFF = (255, 255, 255)  # the cross over a head that was switched off


@dataclass(frozen=True)
class Range:
    """The multiples of the median head that the colours of all small grids span: one scale, so they can be compared."""

    low: float
    high: float

    @classmethod
    def over(cls, grids: Sequence[np.ndarray]) -> Range:
        """All but the lowest and the highest head in a hundred; around zero where scores have a sign."""
        together = np.concatenate([multiples(grid)[np.isfinite(grid)] for grid in grids])
        if together.min() < 0:
            high = float(np.quantile(np.abs(together), 0.99)) or 1.0
            return cls(-high, high)
        low, high = (float(one) for one in np.quantile(together, (0.01, 0.99)))
        return cls(low, high if high > low else low + 1.0)

    @property
    def stops(self) -> list[tuple[float, str]]:
        """The colour scale: share of the range, colour."""
        if self.low < 0:
            return [(share, colour) for share, colour in theme.DIVERGING]
        return [(share, colour) for share, colour in get_colorscale(theme.SEQUENTIAL)]

    def colours(self, values: np.ndarray) -> np.ndarray:
        """uint8 (..., 3) of multiples."""
        shares, table = zip(*self.stops, strict=True)
        colours = np.array([hex_to_rgb(colour) for colour in table], float)
        at = np.clip((np.nan_to_num(values) - self.low) / (self.high - self.low), 0, 1)
        return (
            np.stack([np.interp(at, shares, colours[:, channel]) for channel in range(3)], -1).round().astype(np.uint8)
        )


def multiples(values: np.ndarray) -> np.ndarray:
    """Scores as multiples of the median head, or of the largest where the median is zero."""
    return np.asarray(values, float) / Scale.of(values).unit


def small_grid(values: np.ndarray, colours: Range, mask: np.ndarray | None = None) -> np.ndarray:
    """A head grid as an image uint8 (height, width, 4), the first layer at the bottom; clear where there is no head.

    Args:
        values: (layers, heads). mask: the same shape, False for heads that were switched off, which are crossed.
    """
    rows, columns = values.shape
    image = np.zeros((rows, CELL, columns, CELL, 4), np.uint8)
    inside = image[:, GAP:, :, GAP:]  # (layers, 18, heads, 18, 4)
    inside[..., :3] = colours.colours(multiples(values))[:, None, :, None]
    inside[..., 3] = 255 * np.isfinite(values)[:, None, :, None]
    if mask is not None:
        for layer, head in np.argwhere(~np.asarray(mask, bool) & np.isfinite(values)):
            for step in range(3, CELL - GAP - 3):
                for place in (step, CELL - GAP - 1 - step):
                    inside[layer, step, head, place - 1 : place + 2, :3] = OFF
    return image[::-1].reshape(rows * CELL, columns * CELL, 4)[GAP - 1 :]


class Labelled(NamedTuple):
    """A small grid of a sheet: values (layers, heads), and a mask of the same shape as in `small_grid`."""

    title: str
    values: np.ndarray
    mask: np.ndarray | None = None
    note: str = ""


def sheet(cards: Mapping[str, Sequence[tuple[Any, ...]]], colours: Range, across: int = 6) -> str:
    """All small grids as one SVG, to print: {heading: those of each as Labelled}, `across` in a row."""
    side, room, line = 132, 156, 14
    parts, y = [], 0
    for heading, grids in cards.items():
        parts.append(f'<text x="8" y="{y + 22}" font-size="15" font-weight="600">{html.escape(heading)}</text>')
        y += 36
        for place, (title, values, mask, note) in enumerate(Labelled(*one) for one in grids):
            left, top = 8 + place % across * room, y + place // across * (side + 34 + line) + line
            for text, up, points in ((title, line, 12), (note, 0, 10)):
                parts.append(f'<text x="{left}" y="{top + 12 - up}" font-size="{points}">{html.escape(text)}</text>')
            cell = side / max(values.shape)
            shades = colours.colours(multiples(values))
            for layer, head in np.argwhere(np.isfinite(values)):
                x, above, wide = left + head * cell, top + 18 + (len(values) - 1 - layer) * cell, 0.92 * cell
                parts.append(
                    f'<rect x="{x:.2f}" y="{above:.2f}" width="{wide:.2f}" height="{wide:.2f}" '
                    f'fill="rgb{tuple(map(int, shades[layer, head]))}"/>'
                )
                if mask is not None and not mask[layer, head]:
                    near, far = 0.18 * wide, 0.82 * wide
                    cross = f"M{x + near:.2f} {above + near:.2f}L{x + far:.2f} {above + far:.2f}"
                    cross += f"M{x + near:.2f} {above + far:.2f}L{x + far:.2f} {above + near:.2f}"
                    parts.append(f'<path d="{cross}" stroke="rgb{OFF}" stroke-width="1.5"/>')
        y += -(-len(grids) // across) * (side + 34 + line)
    size = f'width="{across * room + 16}" height="{y + 8}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">{"".join(parts)}</svg>'
