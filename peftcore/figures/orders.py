"""Heads switched off one after the other: a reader's own order beside a score's, chance's and the measured one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words

KINDS = {  # colour, dash, marker, words; chance is a band and its mean
    "chance": ("#7F8C9A", "dot", "square", "by chance"),
    "against": ("#8E63C7", "dashdot", "diamond", "most responsive first"),
    "measured": ("#009E73", "dash", "triangle-up", "by what each alone costs"),
    "score": ("#0072B2", "solid", "circle", "least responsive first"),
    "own": ("#D55E00", "solid", "star", "your choice"),
}
METRICS = {"loss": "loss (nats)", "accuracy": "accuracy"}

Curve = Mapping[str, Sequence[float]]  # off, loss, accuracy


def orders(
    curves: Mapping[str, Sequence[Curve]],
    *,
    metric: str = "accuracy",
    most: int | None = None,
    dark: bool = False,
    height: int = 430,
) -> go.Figure:
    """The loss or the accuracy while heads go, a curve for each order.

    Args:
        curves: {one of KINDS: its curves, each with `off` ascending from 0, `loss` in nats and `accuracy`, 0 to 1}.
        most: heads that the axis shows; all by default.
    """
    if metric not in METRICS or not any(curves.values()):
        raise BadData(f"A figure of orders needs curves and a metric of {', '.join(METRICS)}, not {metric!r}.")
    figure = go.Figure()
    columns: dict[str, list] = {"order": [], "draw": [], "heads off": [], "loss (nats)": [], "accuracy": []}
    for name, (colour, dash, symbol, said) in KINDS.items():
        several = curves.get(name) or []
        if not several:
            continue
        off, values = np.asarray(several[0]["off"]), np.array([curve[metric] for curve in several], float)
        if len(several) > 1:
            figure.add_scatter(
                x=[*off, *off[::-1]], y=[*values.max(0), *values.min(0)[::-1]], fill="toself", mode="lines",
                fillcolor="rgba(127,140,154,0.22)", line=dict(width=0), hoverinfo="skip",
                showlegend=False, name="range",
            )  # fmt: skip
            said += f", mean and range of {len(several)}"
        figure.add_scatter(
            x=off, y=values.mean(0), mode="lines+markers", name=said,
            line=dict(color=colour, dash=dash, width=3 if name == "own" else 2.2),
            marker=dict(size=10 if name == "own" else 6, symbol=symbol),
            hovertemplate="%{x} heads off<br>"
            + ("loss %{y:.3f} nats" if metric == "loss" else "accuracy %{y:.1%}")
            + "<extra>%{fullData.name}</extra>",
        )  # fmt: skip
        for draw, curve in enumerate(several):
            for gone, loss, accuracy in zip(curve["off"], curve["loss"], curve["accuracy"], strict=True):
                for column, one in zip(columns, (name, draw, gone, loss, accuracy), strict=True):
                    columns[column].append(one)
    theme.numbered(figure, columns)
    last = max(max(curve["off"]) for several in curves.values() for curve in several)
    shown = min(most or last, last)
    figure.update_xaxes(title_text="heads that are switched off", range=[-0.02 * shown, 1.03 * shown])
    figure.update_yaxes(title_text=METRICS[metric], tickformat=".0%" if metric == "accuracy" else None)
    if shown < last:  # the values that are in sight decide the axis
        marks = [x for several in curves.values() for x in several[0]["off"] if x < shown]
        seen = [value_at(curve, metric, x) for several in curves.values() for curve in several for x in (*marks, shown)]
        edge = 0.06 * (max(seen) - min(seen) or 1.0)
        figure.update_yaxes(range=[min(seen) - edge, max(seen) + edge])
    figure.update_layout(margin=dict(b=110), hovermode="closest")
    title, note = _finding(curves, metric)
    return theme.finish(
        figure, title, name="orders", dark=dark, height=height, note=note, margin=dict(l=60, r=16, b=110),
        line=words.NARROW - 6,  # beside the menu
    )  # fmt: skip


def value_at(curve: Curve, metric: str, off: float) -> float:
    """The value of a curve at so many heads, between its points by a straight line."""
    return float(np.interp(off, curve["off"], curve[metric]))


def _finding(curves: Mapping[str, Sequence[Curve]], metric: str) -> tuple[str, str]:
    """How the first of the reader's choice, the score and chance stands against the next one there is."""
    there = [name for name in ("own", "score", "chance") if curves.get(name)]
    if len(there) < 2:
        return f"What switching off costs, {KINDS[there[0] if there else next(iter(curves))][3]}", ""
    first, second = there[:2]
    count = max(curves[first][0]["off"]) if first == "own" else max(curves[first][0]["off"]) / 2
    a, b = (np.mean([value_at(curve, metric, count) for curve in curves[name]]) for name in (first, second))
    names = {"own": "Your choice", "score": "the score's order", "chance": "chance"}
    one, other = names[first], names[second]
    if metric == "accuracy":
        text = f"{_capital(one)} keeps {100 * a:.1f} %, {other} {100 * b:.1f} %"
    else:
        text = f"{_capital(one)} ends at {a:.3f} nats, {other} at {b:.3f}"
    return text, f"with {count:.0f} heads off"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


_CURVE = dict(off=[0, 4, 8], loss=[0.1, 0.2, 0.5], accuracy=[0.97, 0.95, 0.8])
EXAMPLES = {
    "orders": dict(
        curves={"chance": [_CURVE, _CURVE | dict(loss=[0.1, 0.3, 0.5])], "score": [_CURVE], "own": [_CURVE]}, most=6
    )
}
