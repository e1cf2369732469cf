"""A matrix with few bits for each weight: its values beside the levels that are left, and what that costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import method_colour

LEVEL = "#D55E00"


def values_and_levels(
    counts: Sequence[int],
    levels: Sequence[float] | None,
    *,
    bits: int,
    error: float,
    edge: float,
    dark: bool = False,
    height: int = 360,
) -> go.Figure:
    """The histogram of a matrix's weights in standard deviations, and the levels to which they are rounded.

    Args:
        counts: of equal bins from -edge to edge.
        levels: ascending, in standard deviations; None where they are too many to be drawn.
        error: of the rounded matrix, as a share of its length.
    """
    if len(counts) < 2 or edge <= 0:
        raise BadData(f"A histogram needs at least two bins and an edge above zero, not {len(counts)} and {edge}.")
    edges = np.linspace(-edge, edge, len(counts) + 1)
    middles, top = (edges[:-1] + edges[1:]) / 2, max(counts) or 1
    figure = go.Figure()
    figure.add_bar(
        x=middles, y=list(counts), width=edges[1] - edges[0], name="weights", marker=dict(color=theme.muted(dark)),
        opacity=0.55, hovertemplate="%{y} weights near %{x:.1f} deviations<extra></extra>",
    )  # fmt: skip
    if levels is not None:
        for level in levels:
            figure.add_shape(
                type="line",
                x0=level,
                x1=level,
                y0=0,
                y1=1.08 * top,
                line=dict(color=LEVEL, width=3 if bits < 4 else 1.5),
            )
        figure.add_scatter(
            x=list(levels), y=[1.08 * top] * len(levels), mode="markers", name="levels that are left",
            marker=dict(color=LEVEL, symbol="triangle-down", size=11 if bits < 4 else 7),
            hovertemplate="level %{x:.2f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="weight (standard deviations from the mean)", range=[-edge, edge])
    figure.update_yaxes(title_text="weights", range=[0, 1.2 * top])
    figure.update_layout(bargap=0, showlegend=levels is not None, margin=dict(b=84))
    what = f"{bits} bit{'s' if bits > 1 else ''} leave{'s' if bits == 1 else ''} {2**bits:,} values for a weight"
    title = "32 bits: each weight as it was trained" if bits == 32 else what
    note = "nothing is rounded" if bits == 32 else f"the rounded matrix is {words.percent(error)} away from itself"
    return theme.finish(
        figure, title, name="values-and-levels", dark=dark, height=height, note=note, margin=dict(l=56, r=16, b=84),
        line=words.NARROW,
    )  # fmt: skip


def accuracy_by_bits(
    curves: Sequence[Mapping[str, Any]], *, bits: int | None = None, dark: bool = False, height: int = 360
) -> go.Figure:
    """Test accuracy by bits for each weight, a curve for each run.

    Args:
        curves: dicts of `name`, `method` (whose colour it has), `trained_bits`, `chance` (0 to 1) and `rows`, dicts of
            `bits`, `accuracy` (0 to 1) and `bytes` of the matrices.
        bits: the ones that are chosen, marked.
    """
    if not curves:
        raise BadData("A figure of accuracy by bits needs at least one run.")
    figure = go.Figure()
    columns: dict[str, list] = {"run": [], "bits": [], "test accuracy": [], "bytes": []}
    labels = [str(row["bits"]) for row in curves[0]["rows"]]
    for curve in curves:
        colour = method_colour(curve["method"], dark=dark)
        x, y = [str(row["bits"]) for row in curve["rows"]], [row["accuracy"] for row in curve["rows"]]
        figure.add_scatter(
            x=x, y=y, mode="lines+markers", name=words.plain(curve["name"]), line=dict(color=colour, width=2.2),
            customdata=[words.si_bytes(row["bytes"]) for row in curve["rows"]],
            marker=dict(
                size=[13 if row["bits"] == bits else 8 for row in curve["rows"]],
                symbol=["star" if row["bits"] == curve["trained_bits"] else "circle" for row in curve["rows"]],
            ),
            hovertemplate="%{x} bits, %{customdata}<br>test accuracy %{y:.1%}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
        for row in curve["rows"]:
            for name, one in zip(columns, (curve["name"], row["bits"], row["accuracy"], row["bytes"]), strict=True):
                columns[name].append(one)
    if bits is not None and str(bits) in labels:
        figure.add_vline(x=labels.index(str(bits)), line=dict(color=theme.ink(dark), width=1, dash="dot"))
    figure.update_xaxes(title_text="bits for each weight (a star: as it was trained)", type="category")
    figure.update_yaxes(title_text="test accuracy", tickformat=".0%", range=[0, 1.04])
    figure.update_layout(margin=dict(b=96))
    theme.numbered(figure, columns)
    ends = [(row["accuracy"], curve["name"]) for curve in curves for row in curve["rows"] if row["bits"] == bits]
    said = "; ".join(f"{name}: {words.percent(value)}" for value, name in ends)
    title = f"With {bits} bit{'s' if bits != 1 else ''}: {said}" if said else "Accuracy by bits for each weight"
    return theme.finish(
        figure, title, name="accuracy-by-bits", dark=dark, height=height, margin=dict(l=60, r=16, b=96),
        line=words.NARROW,
    )  # fmt: skip


_ROWS = [dict(bits=1, accuracy=0.6, bytes=100), dict(bits=32, accuracy=0.9, bytes=3200)]
EXAMPLES = {
    "values_and_levels": dict(counts=[1, 4, 9, 4, 1], levels=(-0.67, 0.67), bits=1, error=0.6, edge=2.5),
    "accuracy_by_bits": dict(curves=[dict(name="LoRA on digits", method="lora", trained_bits=32, rows=_ROWS)], bits=1),
}
