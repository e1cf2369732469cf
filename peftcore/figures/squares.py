"""The geometry of layer x head grids: square cells of whole pixels, their ticks, ranks and colours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words

GAP = 2  # pixels between neighbouring cells
SIDES = dict(l=58, r=92, t=66, b=50)  # the colour bar stands at the right


def checked(values: np.ndarray) -> np.ndarray:
    values = np.where(np.isinf(np.asarray(values, float)), np.nan, values)  # nothing is a multiple of infinity
    if values.ndim != 2 or not np.isfinite(values).any():
        raise BadData(f"A head grid needs numbers of shape (layers, heads), but got shape {values.shape}.")
    return values


def rank_heads(values: np.ndarray) -> np.ndarray:
    """(layers, heads) -> ranks from 1, the largest, ties in reading order; NaN where there is no head."""
    flat = np.asarray(values, float).ravel()
    order = np.argsort(-np.nan_to_num(flat, nan=-np.inf), kind="stable")
    ranks = np.empty(flat.size)
    ranks[order] = np.arange(1, flat.size + 1)
    ranks[np.isnan(flat)] = np.nan
    return ranks.reshape(np.shape(values))


@dataclass(frozen=True)
class Scale:
    """How values are read: scores as multiples of the median head's magnitude, or of the largest where the median is
    zero; what has a unit of its own in that."""

    unit: float
    name: str  # of what they are multiples, "median" or "largest"; else their unit
    multiples: bool = True

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """`values`: all heads' scores, NaN where there is no head; signs are ignored."""
        sizes = np.abs(np.asarray(values, float))
        median, largest = float(np.nanmedian(sizes)), float(np.nanmax(sizes))
        return cls(median, "median") if median > 0 else cls(largest or 1.0, "largest")

    @classmethod
    def measured(cls, unit: str) -> Scale:
        """Of values with a unit of their own: changes in 'nats'."""
        return cls(1.0, unit, multiples=False)

    @property
    def title(self) -> str:
        """'× median', or 'nats'."""
        return f"\N{MULTIPLICATION SIGN} {self.name}" if self.multiples else self.name

    def text(self, value: float) -> str:
        """'3.7 times the median', or '+0.012 nats'."""
        if not self.multiples:
            return f"{value:+.2g} {self.name}".replace("-", "\N{MINUS SIGN}")
        return f"{words.times(value / self.unit)} the {self.name}"

    def bar(self, reach: float, low: float = 0.0) -> dict:
        """A colour bar's ticks from `low` to `reach`, both scores, as multiples."""
        step = words.ceiling((reach - low) / self.unit / 4)
        at = [
            n * step for n in range(math.ceil(low / self.unit / step), math.floor(reach / self.unit / step + 1e-9) + 1)
        ]
        return dict(tickvals=[one * self.unit for one in at], ticktext=[f"{one:.3g}" for one in at])


def colour_axis(values: np.ndarray) -> dict:
    """Cividis from zero for scores; the diverging scale, centred on zero, where scores have a sign."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    if low < 0:
        reach = max(-low, high)
        return dict(colorscale=[list(stop) for stop in theme.DIVERGING], cmin=-reach, cmax=reach)
    return dict(colorscale=theme.SEQUENTIAL, cmin=0.0, cmax=high or 1.0)


def colour_bar(score: str, projection: str, scale: Scale, colours: Mapping) -> dict:
    """The bar beside a grid: what the colours of `colour_axis` mean, read in a scale."""
    title = f"{score}<br>{projection}" if projection else score
    title += f"<br>{scale.title}"
    return dict(
        title=dict(text=title, side="top", font=dict(size=12)),
        thickness=12,
        len=1,
        lenmode="fraction",
        y=0.5,
        x=1,
        xpad=10,
        outlinewidth=0,
        tickfont=dict(size=11),
        **scale.bar(colours["cmax"], colours["cmin"]),
    )


def cell_side(layers: int, heads: int, width: int, height: int, margins: Mapping[str, int]) -> int:
    """The side in pixels of a cell that fits the figure both ways."""
    across = (width - margins["l"] - margins["r"]) / heads
    up = (height - margins["t"] - margins["b"]) / layers
    return max(6, int(min(across, up, 96)))


def lay_square(figure: go.Figure, layers: int, heads: int, cell: int, margins: Mapping[str, int]) -> None:
    """Axes and a figure size that make each cell exactly `cell` pixels wide and high."""
    bare = dict(showgrid=False, fixedrange=True, showline=False, ticks="", automargin=False)
    for update, count, name in ((figure.update_xaxes, heads, "head"), (figure.update_yaxes, layers, "layer")):
        shown = ticks(count)
        update(range=[-0.5, count - 0.5], tickvals=shown, ticktext=[str(i + 1) for i in shown], title_text=name, **bare)
    figure.update_layout(
        autosize=False,
        dragmode=False,
        hovermode="closest",
        width=cell * heads + margins["l"] + margins["r"],
        height=cell * layers + margins["t"] + margins["b"],
    )


def ticks(count: int, most: int = 16) -> list[int]:
    """Which of `count` rows or columns are numbered: all where there is room, else every 2nd or 4th."""
    every = 1 if count <= most else 2 if count <= 2 * most else 4
    return [index for index in range(count) if every == 1 or index == 0 or (index + 1) % every == 0]


def cells(values: np.ndarray, score: str, **more: np.ndarray) -> dict[str, list]:
    """The numbers of a grid as columns: layer and head, both from 1, the score, and more grids of the same shape."""
    where = np.argwhere(~np.isnan(values))
    grids = {score: values} | more
    return {"layer": (where[:, 0] + 1).tolist(), "head": (where[:, 1] + 1).tolist()} | {
        name: np.asarray(grid)[where[:, 0], where[:, 1]].tolist() for name, grid in grids.items()
    }


def squares(values: np.ndarray, score: str, cell: int, colours: Mapping, **more: Any) -> go.Scatter:
    """The heads of a grid as squares of their colour, in the order of `cells`; `more` of a scatter's settings."""
    where = np.argwhere(~np.isnan(values))
    return go.Scatter(
        x=where[:, 1],
        y=where[:, 0],
        mode="markers",
        name=score,
        showlegend=False,
        marker=dict(
            symbol="square",
            size=cell - GAP,
            opacity=1,
            color=values[where[:, 0], where[:, 1]],
            line=dict(width=0),
            **colours,
        ),
        text=[f"layer {layer + 1}, head {head + 1}" for layer, head in where],
        **more,
    )


def crosses(figure: go.Figure, where: np.ndarray, cell: float) -> None:
    """Cross out the heads at `where`, rows of (layer, head); the crosses take no clicks."""
    for width, colour in ((5, "#FFFFFF"), (2, "#1F2933")):
        figure.add_scatter(
            x=where[:, 1],
            y=where[:, 0],
            mode="markers",
            hoverinfo="skip",
            showlegend=False,
            name="switched off",
            marker=dict(symbol="x-thin", size=0.5 * cell, opacity=1, line=dict(width=width, color=colour)),
        )


def outline(figure: go.Figure, layer: int, head: int) -> None:
    """A double frame around one cell, visible on any colour and in grey."""
    box = dict(type="rect", x0=head - 0.5, x1=head + 0.5, y0=layer - 0.5, y1=layer + 0.5, fillcolor="rgba(0,0,0,0)")
    figure.add_shape(**box, line=dict(color="#FFFFFF", width=6))
    figure.add_shape(**box, line=dict(color="#D55E00", width=3))
