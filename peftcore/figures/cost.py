"""Accuracy against what it costs: memory, parameters, stored bytes, seconds; with the Pareto front."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.accuracy import level
from peftcore.figures.curves import mark_chance
from peftcore.figures.labels import label
from peftcore.figures.method_style import kind_symbol, method_colour, method_in_text, method_kind, method_title
from peftcore.registry import METHODS

COSTS = {  # column of the rows: the axis, how its numbers read, the noun of the finding
    "memory": ("peak memory of a training step", words.si_bytes, "memory"),
    "parameters": ("parameters trained", words.human_count, "parameters"),
    "stored": ("bytes of the saved adapter", words.si_bytes, "stored bytes"),
    "seconds": ("time of the run (s)", lambda seconds: f"{float(f'{seconds:.3g}'):,g} s", "time"),
}
BESIDE = 160  # pixels of the height that title, axis and legend take


def accuracy_vs_cost(
    rows: Sequence[Mapping],
    cost: str = "memory",
    *,
    chance: float | None = None,
    dark: bool = False,
    height: int = 440,
    width: int | None = None,
    across: int = 560,
) -> go.Figure:
    """Accuracy against one of COSTS, with the Pareto front.

    rows: `method`, `accuracy` (0 to 1), the cost's column (`parameters`; `memory` and `stored` in bytes; `seconds`),
    optionally `kind`, `title`, and `spread` (of the accuracy over seeds) or else `interval` (its ends). chance: the
    accuracy of guessing, a line, or named at the axis where the points are so far above it that they would fall into
    one. across: the least pixels that the place of the points has, for which labels are laid out. Raises BadData: no
    row has both.
    """
    axis, say, noun = COSTS[cost]
    look = dict(name=f"accuracy-{cost}", chance=chance, dark=dark, height=height, width=width, across=across)
    return _against(rows, cost, axis, say, _leanest(rows, cost, noun), **look)  # type: ignore[arg-type]


def pareto(rows: Sequence[Mapping], column: str) -> list[int]:
    """Places of the rows that no other row beats, the cheapest first: none is as cheap and more accurate, or as
    accurate and cheaper."""
    best: list[int] = []
    for n in sorted(range(len(rows)), key=lambda n: (rows[n][column], -rows[n]["accuracy"])):
        if not best or rows[n]["accuracy"] > rows[best[-1]]["accuracy"]:
            best.append(n)
    return best


def _ends(row: Mapping) -> tuple[float, float]:
    """The ends of a point's bar."""
    spread = row.get("spread") or 0.0
    return row.get("interval") or (row["accuracy"] - spread, row["accuracy"] + spread)


def _beside(row: Mapping) -> str:
    """How sure a point's accuracy is, for its hover."""
    if row.get("spread"):
        return f" ± {row['spread']:.3f}"
    return " ({:.3f} to {:.3f})".format(*row["interval"]) if row.get("interval") else ""


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
    across: int,
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
    for kind in ("in-backbone", "side"):
        chosen = [row for row in rows if method_kind(row["method"], row.get("kind")) == kind]
        if not chosen:
            continue
        figure.add_scatter(
            x=[row[column] for row in chosen],
            y=[row["accuracy"] for row in chosen],
            mode="markers",
            name={"side": "side (reads the backbone)", "in-backbone": "in-backbone (changes it)"}[kind],
            text=[_title(row) for row in chosen],
            cliponaxis=False,
            error_y=dict(
                type="data",
                symmetric=False,
                array=[_ends(row)[1] - row["accuracy"] for row in chosen],
                arrayminus=[row["accuracy"] - _ends(row)[0] for row in chosen],
                color=theme.muted(dark),
                thickness=1,
                width=3,
                visible=any(row.get("spread") or row.get("interval") for row in chosen),
            ),
            marker=dict(
                symbol=kind_symbol(kind),
                size=14,
                line=dict(width=1, color=theme.ink(dark)),
                color=[method_colour(row["method"], row.get("kind"), dark) for row in chosen],
            ),
            customdata=[[say(row[column]), _beside(row)] for row in chosen],
            hovertemplate="<b>%{text}</b><br>accuracy %{y:.3f}%{customdata[1]}<br>%{customdata[0]}<extra></extra>",
        )
    costs = np.log10([row[column] for row in rows])
    pad = 0.14 * max(costs.max() - costs.min(), 0.8)
    ticks = _ticks(costs)
    low, high = min(_ends(row)[0] for row in rows), max(_ends(row)[1] for row in rows)
    drawn, titled = level(chance, [row["accuracy"] for row in rows], low, high)
    if drawn is not None:
        mark_chance(figure, drawn, 10 ** (costs.max() + pad), start=10 ** (costs.min() - pad), dark=dark)
        low, high = min(low, drawn), max(high, drawn)
    room = 0.12 * max(high - low, 0.02)
    ends, heights = (costs.min() - pad, costs.max() + pad), (max(0, low - room), min(1.02, high + room))
    points = list(costs), [row["accuracy"] for row in rows]
    label(figure, [_title(row) for row in rows], *points, (ends, heights), (across, height - BESIDE), dark)
    figure.update_xaxes(
        type="log",
        title_text=x_title,
        range=ends,
        tickvals=ticks,
        ticktext=[say(tick) for tick in ticks],
    )
    figure.update_yaxes(title_text=titled, range=heights)
    figure.update_layout(showlegend=True)
    return theme.finish(figure, finding, name=name, dark=dark, height=height, width=width)


def _ticks(costs: np.ndarray) -> list[float]:
    """Marks of an axis with these logarithms: the finer, the less they span."""
    span = np.ptp(costs)
    digits = (1,) if span > 1.6 else (1, 2, 5) if span > 0.5 else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    return [digit * 10.0**power for power in range(int(costs.min()) - 1, int(costs.max()) + 2) for digit in digits]


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
    most = max(row["accuracy"] for row in rows)
    best = [_title(row) for row in rows if f"{row['accuracy']:.3f}" == f"{most:.3f}"]
    if len(best) > 3:
        return f"{len(best)} are equally accurate: {most:.3f}"
    return f"{words.in_a_row(best)} {'is' if len(best) == 1 else 'are'} the most accurate: {most:.3f}"


_ROWS = [
    {"method": "full", "accuracy": 0.95, "memory": 4.9e9, "stored": 3.4e8, "spread": 0.01},
    {"method": "last", "accuracy": 0.94, "memory": 0.6e9, "stored": 2.4e6},
    {"method": "linear", "accuracy": 0.80, "memory": 0.4e9, "stored": 3.1e4},
]
EXAMPLES = {"accuracy_vs_cost": dict(rows=_ROWS, cost="stored")}
