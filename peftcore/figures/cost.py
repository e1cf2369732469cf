"""Accuracy against what it costs: memory, parameters, stored bytes, seconds; with the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.curves import mark_chance
from peftcore.figures.method_style import kind_symbol, method_colour, method_in_text, method_kind, method_title
from peftcore.registry import METHODS

COSTS = {  # column of the rows: the axis, how its numbers read, the noun of the finding
    "memory": ("peak memory of a training step", words.si_bytes, "memory"),
    "parameters": ("parameters trained", words.human_count, "parameters"),
    "stored": ("bytes of the saved adapter", words.si_bytes, "stored bytes"),
    "seconds": ("time of the run (s)", lambda seconds: f"{seconds:.3g} s", "time"),
}


def accuracy_vs_cost(
    rows: Sequence[Mapping],
    cost: str = "memory",
    *,
    chance: float | None = None,
    dark: bool = False,
    height: int = 440,
    width: int | None = None,
) -> go.Figure:
    """Accuracy against one of COSTS, with the Pareto front.

    rows: `method`, `accuracy` (0 to 1), the cost's column (`parameters`; `memory` and `stored` in bytes; `seconds`),
    optionally `kind`, `title` and `spread` (of the accuracy over seeds). chance: the accuracy of guessing, drawn as a
    line. Raises BadData: no row has both.
    """
    axis, say, noun = COSTS[cost]
    look = dict(name=f"accuracy-{cost}", chance=chance, dark=dark, height=height, width=width)
    return _against(rows, cost, axis, say, _leanest(rows, cost, noun), **look)  # type: ignore[arg-type]


def pareto(rows: Sequence[Mapping], column: str) -> list[int]:
    """Places of the rows that no other row beats, the cheapest first: none is as cheap and more accurate, or as
    accurate and cheaper."""
    best: list[int] = []
    for n in sorted(range(len(rows)), key=lambda n: (rows[n][column], -rows[n]["accuracy"])):
        if not best or rows[n]["accuracy"] > rows[best[-1]]["accuracy"]:
            best.append(n)
    return best


def _title(row: Mapping) -> str:
    return words.plain(row.get("title") or method_title(row["method"]))


def _against(
    rows: Sequence[Mapping],
    column: str,
    x_title: str,
    say: Callable[[float], str],
    finding: str,
    *,
    name: str,
    chance: float | None,
    dark: bool,
    height: int,
    width: int | None,
) -> go.Figure:
    """Accuracy against a cost on a logarithmic axis: one labelled marker per row, its shape by kind, and a line along
    the rows that nothing beats in both."""
    rows = [row for row in rows if row.get(column) and row.get("accuracy") is not None]
    if not rows:
        raise BadData(f"This figure needs rows with method, accuracy and {column} above zero.")
    figure = go.Figure()
    if len(best := pareto(rows, column)) > 1:
        figure.add_scatter(
            x=[rows[n][column] for n in best],
            y=[rows[n]["accuracy"] for n in best],
            mode="lines",
            name="Pareto front: nothing is better in both",
            line=dict(color=theme.muted(dark), width=1.5, shape="hv", dash="dot"),
            hoverinfo="skip",
        )
    places = _label_places(rows, column)
    for kind in ("in-backbone", "side"):
        part = [
            (row, place)
            for row, place in zip(rows, places, strict=True)
            if method_kind(row["method"], row.get("kind")) == kind
        ]
        if not part:
            continue
        chosen = [row for row, _ in part]
        figure.add_scatter(
            x=[row[column] for row in chosen],
            y=[row["accuracy"] for row in chosen],
            mode="markers+text",
            name={"side": "side (reads the backbone)", "in-backbone": "in-backbone (changes it)"}[kind],
            text=[_title(row) for row in chosen],
            textposition=[place for _, place in part],
            textfont=dict(size=12, color=theme.ink(dark)),
            cliponaxis=False,
            error_y=dict(
                type="data",
                array=[row.get("spread") or 0 for row in chosen],
                color=theme.muted(dark),
                thickness=1,
                width=3,
                visible=any(row.get("spread") for row in chosen),
            ),
            marker=dict(
                symbol=kind_symbol(kind),
                size=14,
                line=dict(width=1, color=theme.ink(dark)),
                color=[method_colour(row["method"], row.get("kind"), dark) for row in chosen],
            ),
            customdata=[[say(row[column]), f" ± {row['spread']:.3f}" if row.get("spread") else ""] for row in chosen],
            hovertemplate="<b>%{text}</b><br>accuracy %{y:.3f}%{customdata[1]}<br>%{customdata[0]}<extra></extra>",
        )
    costs = np.log10([row[column] for row in rows])
    pad = 0.14 * max(costs.max() - costs.min(), 0.8)
    ticks = [
        digit * 10.0**power
        for power in range(int(costs.min()) - 1, int(costs.max()) + 2)
        for digit in ((1,) if costs.max() - costs.min() > 1.6 else (1, 2, 5))
    ]
    if chance is not None:
        ends = 10 ** (costs.min() - pad), 10 ** (costs.max() + pad)
        mark_chance(figure, chance, ends[1], start=ends[0], dark=dark)
    low = min([row["accuracy"] - (row.get("spread") or 0) for row in rows] + ([] if chance is None else [chance]))
    high = max(row["accuracy"] + (row.get("spread") or 0) for row in rows)
    room = 0.12 * max(high - low, 0.02)
    figure.update_xaxes(
        type="log",
        title_text=x_title,
        range=[costs.min() - pad, costs.max() + pad],
        tickvals=ticks,
        ticktext=[say(tick) for tick in ticks],
    )
    figure.update_yaxes(title_text="accuracy", range=[max(0, low - room), min(1.02, high + room)])
    figure.update_layout(showlegend=True)
    return theme.finish(figure, finding, name=name, dark=dark, height=height, width=width)


def _label_places(rows: Sequence[Mapping], column: str) -> list[str]:
    """A position for each label, chosen greedily where there are fewest neighbours."""
    x = np.log10([row[column] for row in rows])
    y = np.array([row["accuracy"] for row in rows], float)
    # In a unit box stretched to the figure's shape, where a label is about 0.16 wide and 0.06 high.
    x = (x - x.min()) / (np.ptp(x) or 1.0)
    y = (y - y.min()) / (np.ptp(y) or 1.0)
    shifts = {
        "middle right": (0.11, 0),
        "middle left": (-0.11, 0),
        "top center": (0, 0.08),
        "bottom center": (0, -0.08),
        "top right": (0.09, 0.06),
        "bottom right": (0.09, -0.06),
        "top left": (-0.09, 0.06),
        "bottom left": (-0.09, -0.06),
    }
    taken, places = list(zip(x, y, strict=True)), []
    for index in range(len(rows)):

        def crowd(place: str, index: int = index) -> float:
            at = (x[index] + shifts[place][0], y[index] + shifts[place][1])
            outside = max(0, at[0] - 1.04) + max(0, -0.04 - at[0])
            near = [abs(at[0] - a) < 0.13 and abs(at[1] - b) < 0.065 for j, (a, b) in enumerate(taken) if j != index]
            return sum(near) + 50 * outside

        places.append(min(shifts, key=crowd))
        taken.append((x[index] + shifts[places[-1]][0], y[index] + shifts[places[-1]][1]))
    return places


def _leanest(rows: Sequence[Mapping], column: str, noun: str) -> str:
    """The finding: the cheapest method within 3 % of training everything, or else the most accurate one."""
    rows = [row for row in rows if row.get(column) and row.get("accuracy") is not None]
    if not rows:
        return ""
    upper = METHODS.baseline("upper")  # there may be several, by their rates: the best of them
    full = max((row for row in rows if row["method"] == upper), key=lambda row: row["accuracy"], default=None)
    others = [row for row in rows if row["method"] != upper]
    if full and others and full["accuracy"] > 0:
        good = [row for row in others if row["accuracy"] >= 0.97 * full["accuracy"]]
        lean = min(good or [max(others, key=lambda row: row["accuracy"])], key=lambda row: row[column])
        gain = words.percent(lean["accuracy"] / full["accuracy"])
        cost = words.percent(lean[column] / full[column])
        whose = method_in_text(full["method"])
        return f"{_title(lean)} reaches {gain} of {whose}'s accuracy with {cost} of its {noun}"
    best = max(rows, key=lambda row: row["accuracy"])
    return f"{_title(best)} is the most accurate: {best['accuracy']:.3f}"


_ROWS = [
    {"method": "full", "accuracy": 0.95, "memory": 4.9e9, "stored": 3.4e8, "spread": 0.01},
    {"method": "last", "accuracy": 0.94, "memory": 0.6e9, "stored": 2.4e6},
    {"method": "linear", "accuracy": 0.80, "memory": 0.4e9, "stored": 3.1e4},
]
EXAMPLES = {"accuracy_vs_cost": dict(rows=_ROWS, cost="stored")}
