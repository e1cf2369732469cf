"""What methods reached on a task: every seed's test accuracy, and their mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import kind_symbol, method_colour, method_in_text, method_kind, method_title
from peftcore.registry import METHODS


def reached(
    accuracies: Mapping[str, Sequence[float]],
    *,
    chance: float | None = None,
    dark: bool = False,
    height: int | None = None,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """Methods from the best down: a small dot for each seed, a large one for their mean, and a line for chance.

    Args:
        accuracies: {method: test accuracies in percent, one per seed}.
        chance: in percent.
        line: the title's characters per line.
    """
    means = {method: mean(values) for method, values in accuracies.items() if values}
    if not means:
        raise BadData("A figure of what methods reached needs at least one accuracy.")
    order = sorted(means, key=means.__getitem__, reverse=True)
    figure = go.Figure()
    for method in order:
        colour, title = method_colour(method, dark=dark), method_title(method)
        values = list(accuracies[method])
        figure.add_scatter(
            x=values, y=[title] * len(values), mode="markers", hoverinfo="skip",
            marker=dict(color=colour, size=6, opacity=0.5),
        )  # fmt: skip
        figure.add_scatter(
            x=[means[method]], y=[title], mode="markers+text", text=f"{means[method]:.0f}", textposition="top center",
            marker=dict(color=colour, size=12, symbol=kind_symbol(method_kind(method)),
                        line=dict(width=1, color=theme.page(dark))),
            hovertemplate=f"<b>{title}</b><br>{means[method]:.1f} %, mean of "
            f"{', '.join(f'{value:.1f}' for value in values)}<extra></extra>",
        )  # fmt: skip
    if chance is not None:
        figure.add_vline(x=chance, line=dict(color=theme.muted(dark), width=1, dash="dot"))
        figure.add_annotation(
            x=chance, y=1, yref="paper", yanchor="top", xanchor="left", text=f"chance {chance:.0f} %",
            showarrow=False, font=dict(color=theme.muted(dark), size=11),
        )  # fmt: skip
    figure.update_xaxes(title_text="test accuracy (%)", range=[0, 103])
    figure.update_yaxes(type="category", range=[len(order) - 0.5, -0.9], ticks="")  # room for the first one's number
    figure.update_layout(showlegend=False)
    best, base = order[0], METHODS.baseline("lower")
    return theme.finish(
        figure,
        f"{method_title(best)} reaches {means[best]:.0f} %",
        name="reached",
        note=f"{method_in_text(base)} {means[base]:.0f} %" if base in means and best != base else "",
        dark=dark,
        height=height or 110 + 34 * len(order),
        line=line,
    )
