"""A race: the curves of its variations on one axis of epochs, and the colours and marks that tell them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftcore.figures import theme, words
from peftcore.figures.curves import loss_top, mark_chance, smooth
from peftcore.figures.method_style import kind_dash, method_colour, method_kind

MOST_POINTS = 400  # of one curve


@dataclass(frozen=True)
class Lane:
    """One variation: its label, its method, and its curves so far.

    `steps`: columns `epoch` (a fraction: 1.5 is the middle of the second), `loss`. `evaluations`: columns `epoch`,
    `accuracy` (0 to 1) on the validation images. Both may be empty. `total`: its steps, once known.
    """

    label: str
    method: str
    steps: pd.DataFrame
    evaluations: pd.DataFrame
    total: int = 0
    kind: str | None = None


def lane_colours(methods: Sequence[str], dark: bool = False) -> list[str]:
    """A colour for each variation: its method's, in a shade for each of its variations, light to dark."""
    colours = []
    for nth, method in enumerate(methods):
        base, many = method_colour(method, dark=dark), methods.count(method)
        if many == 1:
            colours.append(base)
            continue
        at = methods[:nth].count(method) / (many - 1)  # 0 for the first, 1 for the last
        light, deep = (0.6, 0.3) if dark else (0.45, 0.45)
        colours.append(
            _mix(base, "#FFFFFF", light * (1 - 2 * at)) if at < 0.5 else _mix(base, "#000000", deep * (2 * at - 1))
        )
    return colours


def lane_symbols(count: int) -> list[str]:
    """A marker for each variation, by Plotly's names."""
    return [theme.SYMBOLS[nth % len(theme.SYMBOLS)] for nth in range(count)]


def race_curves(
    lanes: Sequence[Lane],
    epochs: float,
    *,
    title: str,
    leader: int | None = None,
    chance: float | None = None,
    stacked: bool = False,
    dark: bool = False,
    height: int = 320,
) -> go.Figure:
    """Training loss at the left, validation accuracy at the right or (`stacked`) below; the leader's curves are thick.

    Args:
        epochs: where the axis ends, those of the longest variation, so that live curves do not move it.
        title: the finding so far.
        leader: index of the lane that leads.
        chance: the validation accuracy of guessing, drawn as a line.
    """
    figure = make_subplots(rows=2 if stacked else 1, cols=1 if stacked else 2, horizontal_spacing=0.11)
    first_panel, second_panel = {"row": 1, "col": 1}, {"row": 2, "col": 1} if stacked else {"row": 1, "col": 2}
    colours, symbols = lane_colours([lane.method for lane in lanes], dark), lane_symbols(len(lanes))
    losses = []
    if chance is not None:
        mark_chance(figure, chance, max(1.0, epochs), **second_panel, dark=dark)
    for nth in sorted(range(len(lanes)), key=lambda nth: nth != leader):  # the thick line lies under the others
        lane, first = lanes[nth], nth == leader
        name, thin = words.plain(lane.label), slice(None, None, -(-len(lane.steps) // MOST_POINTS) or 1)
        dash = kind_dash(method_kind(lane.method, lane.kind))
        common = dict(
            name=name, legendgroup=name, line=dict(color=colours[nth], width=3.6 if first else 1.8, dash=dash)
        )
        # An empty curve keeps the panel and the legend's entry in place.
        steps = lane.steps if len(lane.steps) else pd.DataFrame({"epoch": [np.nan], "loss": [np.nan]})
        evaluations = (
            lane.evaluations if len(lane.evaluations) else pd.DataFrame({"epoch": [np.nan], "accuracy": [np.nan]})
        )
        loss = smooth(steps["loss"].to_numpy(float), lane.total or len(steps))[thin]
        losses.append(loss)
        figure.add_scatter(
            x=steps["epoch"].iloc[thin],
            y=loss,
            mode="lines",
            showlegend=False,
            hovertemplate=f"<b>{name}</b><br>epoch %{{x:.2f}}<br>smoothed loss %{{y:.3f}}<extra></extra>",
            **first_panel,
            **common,
        )
        figure.add_scatter(
            x=evaluations["epoch"],
            y=evaluations["accuracy"],
            mode="lines+markers",
            marker=dict(symbol=symbols[nth], size=11 if first else 8, color=colours[nth]),
            legendrank=nth,
            cliponaxis=False,
            hovertemplate=f"<b>{name}</b><br>epoch %{{x}}<br>validation accuracy %{{y:.3f}}<extra></extra>",
            **second_panel,
            **common,
        )
    figure.update_xaxes(title_text="epoch", range=[0, max(1.0, epochs)], dtick=max(1, round(epochs / 6)))
    figure.update_yaxes(title_text="training loss (nats)", range=[0, loss_top(losses)], **first_panel)
    figure.update_yaxes(
        title_text="validation accuracy", range=[0, 1.03], tickvals=[0, 0.25, 0.5, 0.75, 1], **second_panel
    )
    figure.update_layout(showlegend=True)
    return theme.finish(figure, title, name=f"race-{len(lanes)}-{epochs}", dark=dark, height=height, line=76)


def _mix(colour: str, other: str, share: float) -> str:
    """'#RRGGBB' with this share of the other colour in it."""
    parts = [(int(a, 16), int(b, 16)) for a, b in zip(_pairs(colour), _pairs(other), strict=True)]
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in parts)


def _pairs(colour: str) -> list[str]:
    return [colour[i : i + 2] for i in (1, 3, 5)]
