"""How alike tasks are to their adapters' heads: a matrix of correlations, what chance would give, layers by group.

Figures from plain arrays; peftcore/figures/agreement.py has the numbers. Layers count from 1 at the bottom.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.figures import theme, words
from peftcore.figures.agreement import Agreement
from peftcore.figures.squares import ticks

# Each group has a mark, a colour that no method or memory component has, and a dash.
GROUPS = {
    "natural": ("\N{BLACK CIRCLE}", "#7A8B00", "solid", "circle"),
    "specialised": ("\N{BLACK DIAMOND}", "#A0522D", "dash", "diamond"),
    "structured": ("\N{BLACK UP-POINTING TRIANGLE}", "#8E63C7", "dot", "triangle-up"),
}


def likeness(
    correlations: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str],
    *,
    title: str,
    note: str = "",
    width: int = 620,
    height: int = 620,
    dark: bool = False,
) -> go.Figure:
    """Rank correlations between tasks (tasks, tasks) in the order given, each name with its group's mark."""
    count, longest = len(names), max(map(len, names))
    margin = dict(l=26 + int(6.3 * longest), r=14, t=66, b=92 + int(6.3 * longest))
    cell = max(9, min(46, (width - margin["l"] - margin["r"]) // count, (height - margin["t"] - margin["b"]) // count))
    others = correlations.astype(float).copy()
    np.fill_diagonal(others, np.nan)
    low, high = float(np.nanmin(others)), float(np.nanmax(others))
    reach = max(-low, high) or 1.0
    span = dict(colorscale=theme.SEQUENTIAL, zmin=low, zmax=high)
    if low < 0:
        span = dict(colorscale=[list(stop) for stop in theme.DIVERGING], zmin=-reach, zmax=reach)
    labels = [f"{words.plain(name)} {GROUPS[group][0]}" for name, group in zip(names, groups, strict=True)]
    hover = [
        [f"<b>{words.plain(a)}</b> ({g}) and <b>{words.plain(b)}</b> ({h})" for b, h in zip(names, groups, strict=True)]
        for a, g in zip(names, groups, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=others,
            text=hover,
            **span,
            xgap=1,
            ygap=1,
            hoverongaps=False,
            hovertemplate="%{text}<br>rank correlation %{z:.2f}<extra></extra>",
            colorbar=dict(
                orientation="h",
                y=0,
                yref="container",
                yanchor="bottom",
                x=0.5,
                len=0.9,
                thickness=10,
                outlinewidth=0,
                tickfont=dict(size=11),
                title=dict(text="rank correlation", side="bottom", font=dict(size=12)),
            ),
        )
    )
    bare = dict(
        showgrid=False,
        showline=False,
        ticks="",
        fixedrange=True,
        automargin=False,
        tickvals=list(range(count)),
        tickfont=dict(size=max(8, min(12, cell - 3))),
    )
    figure.update_xaxes(ticktext=labels, tickangle=-90, range=[-0.5, count - 0.5], **bare)
    figure.update_yaxes(ticktext=labels, range=[count - 0.5, -0.5], **bare)
    size = dict(width=cell * count + margin["l"] + margin["r"], height=cell * count + margin["t"] + margin["b"])
    figure.update_layout(autosize=False, dragmode=False, **size)
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)]
    first, second = ([names[pair[n]] for pair in pairs] for n in (0, 1))
    theme.numbered(figure, {"first": first, "second": second, "rank correlation": [others[pair] for pair in pairs]})
    return theme.finish(
        figure, title, name="likeness", note=note, dark=dark, margin=margin, line=max(24, size["width"] // 8), **size
    )


def by_chance(found: Agreement, *, title: str, dark: bool = False, height: int = 260) -> go.Figure:
    """Within minus between under random labels, and where the real labels are."""
    counts, edges = np.histogram(found.drawn, 50)
    figure = go.Figure(
        go.Bar(
            x=(edges[1:] + edges[:-1]) / 2,
            y=counts,
            width=np.diff(edges),
            name="random labels",
            marker=dict(color=theme.muted(dark), opacity=0.55, line=dict(width=0)),
            hovertemplate="%{y} assignments near %{x:.2f}<extra></extra>",
            showlegend=False,
        )
    )
    figure.add_vline(x=found.difference, line=dict(color=theme.ink(dark), width=2))
    to_left = found.difference > (edges[0] + edges[-1]) / 2
    figure.add_annotation(
        x=found.difference, y=1, yref="paper", yanchor="bottom", xanchor="right" if to_left else "left",
        text=f"the real labels: {found.difference:.2f}", font=dict(color=theme.ink(dark)),
    )  # fmt: skip
    figure.update_xaxes(title_text="mean correlation within groups minus between groups")
    figure.update_yaxes(title_text="assignments", rangemode="tozero", nticks=4)
    return theme.finish(figure, title, name="by-chance", dark=dark, height=height, margin=dict(t=76))


def group_profiles(
    profiles: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str],
    *,
    title: str,
    width: int | None = None,
    height: int = 420,
    dark: bool = False,
) -> go.Figure:
    """Each task's layers (tasks, layers) as a thin line, each group's mean as a thick one; layers from the bottom."""
    figure, depth = go.Figure(), np.arange(profiles.shape[1])
    for group in dict.fromkeys(groups):
        _, colour, dash, symbol = GROUPS[group]
        members = [place for place, own in enumerate(groups) if own == group]
        for place in members:
            figure.add_scatter(
                x=profiles[place], y=depth, mode="lines", name=words.plain(names[place]), showlegend=False,
                legendgroup=group, line=dict(color=colour, width=1, dash=dash), opacity=0.35,
                hovertemplate=f"{words.plain(names[place])}, layer %{{text}}: %{{x:.2f}} times<extra></extra>",
                text=depth + 1,
            )  # fmt: skip
        figure.add_scatter(
            x=profiles[members].mean(0), y=depth, mode="lines+markers", name=f"{group} ({len(members)})",
            legendgroup=group, line=dict(color=colour, width=3, dash=dash), marker=dict(symbol=symbol, size=8),
            hovertemplate=f"mean of {group}, layer %{{text}}: %{{x:.2f}} times<extra></extra>", text=depth + 1,
        )  # fmt: skip
    shown = ticks(len(depth))
    figure.update_yaxes(title_text="layer", tickvals=shown, ticktext=[str(layer + 1) for layer in shown])
    figure.update_xaxes(title_text="mean over the layer's heads, times the median head")
    return theme.finish(figure, title, name="group-profiles", dark=dark, width=width, height=height, margin=dict(b=88))


_SOME = np.random.default_rng(0).uniform(0.2, 0.9, (5, 5))
_NAMES, _LABELS = list("abcde"), ["natural", "natural", "specialised", "structured", "structured"]
EXAMPLES = {
    "likeness": dict(correlations=(_SOME + _SOME.T) / 2, names=_NAMES, groups=_LABELS, title="Alike"),
    "by_chance": dict(
        found=Agreement(0.7, 0.5, 0.02, np.random.default_rng(0).normal(0, 0.1, 999), {"natural": 0.7}), title="Rare"
    ),
    "group_profiles": dict(profiles=_SOME, names=_NAMES, groups=_LABELS, title="Upper layers move more"),
}
