"""One low-rank pair for q, k and v: how many weights it trains, and which updates it can't make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import method_colour

PARTS = ("q", "k", "v")


def weight_counts(
    counts: Mapping[str, int], methods: Mapping[str, str], *, dark: bool = False, height: int = 250
) -> go.Figure:
    """Bars of trained weights.

    Args:
        counts: {what trains them, in words: how many}; the first one is what the title compares the others with.
        methods: {the same words: the method, whose colour the bar has}.
    """
    names = list(counts)
    first, last = counts[names[0]], max(counts.values())
    figure = go.Figure()
    figure.add_bar(
        x=list(counts.values()), y=names, orientation="h", name="trained weights",
        text=[words.human_count(value) for value in counts.values()], textposition="outside", cliponaxis=False,
        marker=dict(color=[method_colour(methods[name], dark=dark) for name in names]),
        hovertemplate="<b>%{y}</b><br>%{x:,} trained weights<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="trained weights", rangemode="tozero", range=[0, 1.15 * last])
    figure.update_yaxes(autorange="reversed", ticks="")
    figure.update_layout(showlegend=False, bargap=0.35)
    return theme.finish(
        figure, f"{names[0]} trains {words.human_count(first)} weights, {names[-1]} {last / first:.3g} times as many",
        name="weight-counts", dark=dark, height=height, line=words.NARROW,
    )  # fmt: skip


def wanted_and_made(
    wanted: np.ndarray, made: np.ndarray, missed: float, *, rank: int, dark: bool = False, height: int = 430
) -> go.Figure:
    """Updates of q, k and v that are wanted, above the nearest that one shared pair makes.

    Args:
        wanted, made: (3 d, d), the three updates below each other.
        missed: the share of what is wanted that is missed, as length.
    """
    wanted, made = np.asarray(wanted, float), np.asarray(made, float)
    if wanted.shape != made.shape or wanted.ndim != 2 or len(wanted) % 3:
        raise BadData(f"Wanted {wanted.shape} and made {made.shape} updates must both be of shape (3 d, d).")
    size, reach = len(wanted) // 3, float(max(np.abs(wanted).max(), np.abs(made).max())) or 1.0
    titles = [f"{what} of {part}" for what in ("wanted", "made") for part in PARTS]
    figure = make_subplots(2, 3, horizontal_spacing=0.05, vertical_spacing=0.12, subplot_titles=titles)
    columns: dict[str, list] = {"update": [], "of": [], "row": [], "column": [], "value": []}
    for row, (what, matrix) in enumerate((("wanted", wanted), ("made", made)), 1):
        for column, part in enumerate(PARTS, 1):
            block = matrix[(column - 1) * size : column * size]
            figure.add_heatmap(
                z=block, zmin=-reach, zmax=reach, colorscale=[list(stop) for stop in theme.DIVERGING], xgap=1, ygap=1,
                showscale=column == 3 and row == 1, colorbar=dict(thickness=10, len=1, outlinewidth=0),
                hovertemplate=f"{what} of {part}<br>row %{{y}}, column %{{x}}: %{{z:+.2f}}<extra></extra>",
                row=row, col=column,
            )  # fmt: skip
            for (i, j), value in np.ndenumerate(block):
                for name, one in zip(columns, (what, part, i + 1, j + 1, float(value)), strict=True):
                    columns[name].append(one)
    bare = dict(showticklabels=False, ticks="", showgrid=False, showline=False, fixedrange=True)
    figure.update_xaxes(**bare, constrain="domain")
    figure.update_yaxes(**bare, autorange="reversed", constrain="domain")
    for number, axis in enumerate(figure.select_yaxes(), 1):  # squares are square
        axis.update(scaleanchor="x" if number == 1 else f"x{number}")
    figure.for_each_annotation(lambda a: a.update(font=dict(size=12.5, color=theme.ink(dark))))
    theme.numbered(figure, columns)
    title = (
        "One shared pair makes exactly this"
        if missed < 5e-3
        else f"The best shared pair misses {words.percent(missed)}"
    )
    return theme.finish(
        figure, title, name="wanted-and-made", dark=dark, height=height, margin=dict(l=12, r=12, b=12, t=88),
        note=f"of what is wanted, by length; rank {rank}", line=words.NARROW,
    )  # fmt: skip


def missed_by_rank(
    ranks: Sequence[int], missed: Sequence[Sequence[float]], *, own: int, dark: bool = False, height: int = 360
) -> go.Figure:
    """The share of a trained update that the nearest shared pair misses, by the pair's rank: the mean over layers, and
    the range from the best to the worst layer.

    Args:
        missed: a row for each layer, a share for each rank. own: the rank of the update itself, marked.
    """
    table = np.asarray(missed, float)
    if table.ndim != 2 or table.shape[1] != len(ranks):
        raise BadData(f"Shares of shape {table.shape} do not fit {len(ranks)} ranks.")
    figure, labels = go.Figure(), [str(rank) for rank in ranks]
    low, high, middle = table.min(0), table.max(0), table.mean(0)
    figure.add_scatter(
        x=[*labels, *labels[::-1]], y=[*high, *low[::-1]], fill="toself", mode="lines",
        fillcolor="rgba(0,158,115,0.18)", line=dict(width=0), hoverinfo="skip", showlegend=False, name="range",
    )  # fmt: skip
    figure.add_scatter(
        x=labels, y=middle, mode="lines+markers", name="mean over layers", showlegend=False,
        line=dict(color=method_colour("serial_lora", dark=dark), width=2.2),
        hovertemplate="rank %{x}: %{y:.0%} missed<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="rank of the shared pair", type="category")
    figure.update_yaxes(title_text="missed of the update (length)", tickformat=".0%", range=[0, 1])
    theme.numbered(figure, {"rank": labels, "mean missed": middle, "least missed": low, "most missed": high})
    return theme.finish(
        figure, f"At any rank a shared pair misses {words.percent(float(middle.min()))} or more of LoRA's update",
        name="missed-by-rank", dark=dark, height=height, note=f"LoRA's own rank is {own}; band: all layers",
        line=words.NARROW - 6,
    )  # fmt: skip


_WANTED = np.random.default_rng(0).normal(size=(12, 4))
EXAMPLES = {
    "weight_counts": dict(
        counts={"Serial LoRA": 1024, "LoRA on q, v": 2048},
        methods={"Serial LoRA": "serial_lora", "LoRA on q, v": "lora"},
    ),
    "wanted_and_made": dict(wanted=_WANTED, made=0.5 * _WANTED, missed=0.5, rank=1),
    "missed_by_rank": dict(ranks=(1, 2, 4), missed=[[0.8, 0.7, 0.6], [0.9, 0.8, 0.7]], own=2),
}
