"""Runs side by side: their curves on one axis, and accuracy against what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import lettering, theme
from peftcore.figures.curves import mark_chance
from peftcore.figures.squares import cell_side
from peftcore.registry import METHODS

AXES = {
    "val_accuracy": "validation accuracy",
    "test_accuracy": "test accuracy",
    "accuracy": "accuracy",
    "train_loss": "training loss (nats)",
    "loss": "loss (nats)",
    "seconds": "seconds",
    "epoch": "epoch",
    "step": "step",
}


def runs_overlay(
    runs: Mapping[str, pd.DataFrame],
    *,
    methods: Mapping[str, tuple[str, str | None]] | None = None,
    x: str = "epoch",
    y: str = "val_accuracy",
    extent: float | None = None,
    chance: float | None = None,
    dark: bool = False,
    height: int = 420,
) -> go.Figure:
    """One curve per run, named at its end; side methods dashed; each run has its own marker.

    Args:
        runs: label -> frame with the columns `x` and `y`; labels are unique.
        methods: label -> (method, kind), for colour and dash.
        extent: where the x axis ends, so that live curves do not move it.
        chance: the accuracy of guessing, drawn as a line.
    """
    figure, last = go.Figure(), {}
    for nth, (label, frame) in enumerate(runs.items()):
        if len(frame) and not {x, y} <= set(frame.columns):
            raise BadData(f"The run {label!r} has no column {y if x in frame.columns else x!r}.")
        method, kind = (methods or {}).get(label, (label, None))
        frame = frame.dropna(subset=[x, y]) if len(frame) else pd.DataFrame({x: [np.nan], y: [np.nan]})
        if not len(frame):
            continue
        colour, name = theme.method_colour(method, kind, dark), theme.plain(label)
        figure.add_scatter(
            x=frame[x],
            y=frame[y],
            mode="lines+markers",
            name=name,
            legendgroup=label,
            line=dict(color=colour, width=2.2, dash=theme.dash(theme.method_kind(method, kind))),
            marker=dict(symbol=theme.SYMBOLS[nth % len(theme.SYMBOLS)], size=7, color=colour, maxdisplayed=15),
            hovertemplate=f"<b>{name}</b><br>{AXES.get(x, x)} %{{x}}<br>{AXES.get(y, y)} %{{y:.3f}}<extra></extra>",
        )
        if np.isfinite(float(frame[y].iloc[-1])):
            last[label] = float(frame[y].iloc[-1])
    values = np.concatenate([frame[y].to_numpy(float) for frame in runs.values() if len(frame)] or [np.zeros(0)])
    accuracy = "accuracy" in y
    values = values[np.isfinite(values)]
    top = 1.03 if accuracy or not len(values) else theme.ceiling(float(values.max()) * 1.02)
    reach = extent or max((float(frame[x].max()) for frame in runs.values() if len(frame)), default=1)
    if chance is not None and accuracy:
        mark_chance(figure, chance, reach, dark=dark)
    figure.update_xaxes(title_text=AXES.get(x, x), range=[0, reach * 1.02])
    figure.update_yaxes(title_text=AXES.get(y, y), range=[0, top])
    figure.update_layout(showlegend=True)
    return theme.finish(figure, _overlay_title(last, y, accuracy), name=f"runs-{x}-{y}", dark=dark, height=height)


def _overlay_title(last: Mapping[str, float], y: str, higher: bool) -> str:
    """Which run leads, and by how much."""
    if not last:
        return "No run has a value yet"
    order = sorted(last, key=last.__getitem__, reverse=higher)
    best, word = order[0], "reaches" if higher else "ends at"
    title = f"{theme.plain(best)} {word} {last[best]:.3f}"
    if len(order) > 1:
        gap = abs(last[best] - last[order[1]])
        second = theme.plain(order[1])
        word = "ahead of" if higher else "below"
        title += f", level with {second}" if gap < 5e-4 else f", {gap:.3f} {word} {second}"
    return title


def _title(row: Mapping) -> str:
    return theme.plain(row.get("title") or theme.method_title(row["method"]))


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
    front: bool = False,
) -> go.Figure:
    """Accuracy against a cost on a logarithmic axis: one labelled marker per row, its shape by kind. `front`: draws a
    line along the rows that nothing beats in both."""
    rows = [row for row in rows if row.get(column) and row.get("accuracy") is not None]
    if not rows:
        raise BadData(f"This figure needs rows with method, accuracy and {column} above zero.")
    figure = go.Figure()
    if front and len(best := pareto(rows, column)) > 1:
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
            if theme.method_kind(row["method"], row.get("kind")) == kind
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
                symbol=theme.symbol(kind),
                size=14,
                line=dict(width=1, color=theme.ink(dark)),
                color=[theme.method_colour(row["method"], row.get("kind"), dark) for row in chosen],
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


def pareto(rows: Sequence[Mapping], column: str) -> list[int]:
    """Places of the rows that no other row beats, the cheapest first: none is as cheap and more accurate, or as
    accurate and cheaper."""
    best: list[int] = []
    for n in sorted(range(len(rows)), key=lambda n: (rows[n][column], -rows[n]["accuracy"])):
        if not best or rows[n]["accuracy"] > rows[best[-1]]["accuracy"]:
            best.append(n)
    return best


COSTS = {  # column of the rows: the axis, how its numbers read, the noun of the finding
    "memory": ("peak memory of a training step", theme.si_bytes, "memory"),
    "parameters": ("parameters trained", theme.human_count, "parameters"),
    "stored": ("bytes of the saved adapter", theme.si_bytes, "stored bytes"),
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
    """Accuracy against one of COSTS, with the Pareto front; rows as in `accuracy_vs_parameters`, with that column."""
    axis, say, noun = COSTS[cost]
    look = dict(name=f"accuracy-{cost}", chance=chance, dark=dark, height=height, width=width, front=True)
    return _against(rows, cost, axis, say, _leanest(rows, cost, noun), **look)  # type: ignore[arg-type]


def disagreement(
    shares: np.ndarray, names: Sequence[str], *, images: int, dark: bool = False, width: int = 460, height: int = 420
) -> go.Figure:
    """The share of images that two runs classify differently, as squares. `shares`: (runs, runs)."""
    many, margins = len(names), dict(l=64, r=92, t=66, b=64)
    side = min(64, cell_side(many, many, width, height, margins))
    size = {"width": side * many + margins["l"] + margins["r"], "height": side * many + margins["t"] + margins["b"]}
    plain = [theme.plain(name) for name in names]
    apart = np.where(np.eye(many, dtype=bool), np.nan, np.asarray(shares, float))
    most = float(np.max(shares)) or 1.0
    figure = go.Figure(
        go.Heatmap(
            z=apart,
            customdata=[[f"{one} and {two}" for two in plain] for one in plain],
            hovertemplate="<b>%{customdata}</b><br>differ on %{z:.1%} of the images<extra></extra>",
            hoverongaps=False,
            colorscale=theme.SEQUENTIAL,
            zmin=0,
            zmax=most,
            xgap=2,
            ygap=2,
            colorbar=dict(thickness=12, outlinewidth=0, tickformat=".0%"),
        )
    )
    if side >= 26:
        down, across = np.nonzero(np.isfinite(apart))
        there = apart[down, across]
        lettering.write(figure, (across, down), [f"{100 * share:.0f}" for share in there], there / most, size=12)
    bare = dict(showgrid=False, fixedrange=True, showline=False, ticks="", automargin=True)
    figure.update_xaxes(tickvals=list(range(many)), ticktext=plain, tickangle=-40, **bare)
    figure.update_yaxes(tickvals=list(range(many)), ticktext=plain, range=[many - 0.5, -0.5], **bare)
    figure.update_layout(autosize=False, dragmode=False)
    rows, columns = np.triu_indices(many, 1)
    theme.numbered(
        figure,
        {
            "first": [names[n] for n in rows.tolist()],
            "second": [names[n] for n in columns.tolist()],
            "differ": np.asarray(shares)[rows, columns].tolist(),
            "images": [images] * len(rows),
        },
    )
    least, largest = (theme.percent(float(of)) for of in (np.nanmin(apart), np.nanmax(apart)))
    spread = largest if least == largest else f"{least} to {largest}"
    title = f"Two runs differ on {spread} of {images:,} images"
    return theme.finish(
        figure, title, name="disagreement", dark=dark, margin=margins, line=max(24, (size["width"] - 20) // 8),
        width=size["width"], height=size["height"],
    )  # fmt: skip


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
    full = next((row for row in rows if row["method"] == METHODS.baseline("upper")), None)
    others = [row for row in rows if row is not full]
    if full and others and full["accuracy"] > 0:
        good = [row for row in others if row["accuracy"] >= 0.97 * full["accuracy"]]
        lean = min(good or [max(others, key=lambda row: row["accuracy"])], key=lambda row: row[column])
        gain = theme.percent(lean["accuracy"] / full["accuracy"])
        cost = theme.percent(lean[column] / full[column])
        whose = theme.method_in_text(full["method"])
        return f"{_title(lean)} reaches {gain} of {whose}'s accuracy with {cost} of its {noun}"
    best = max(rows, key=lambda row: row["accuracy"])
    return f"{_title(best)} is the most accurate: {best['accuracy']:.3f}"


def accuracy_vs_parameters(
    rows: Sequence[Mapping],
    *,
    chance: float | None = None,
    dark: bool = False,
    height: int = 440,
    width: int | None = None,
) -> go.Figure:
    """Accuracy against trained parameters; rows: `method`, `accuracy` (0 to 1), `parameters`, optionally `kind`,
    `title` and `spread` (of the accuracy over seeds). `chance`: the accuracy of guessing, drawn as a line."""
    return _against(
        rows,
        "parameters",
        "parameters trained",
        theme.human_count,
        _leanest(rows, "parameters", "parameters"),
        name="accuracy-parameters",
        chance=chance,
        dark=dark,
        height=height,
        width=width,
    )


def accuracy_vs_memory(
    rows: Sequence[Mapping],
    *,
    chance: float | None = None,
    dark: bool = False,
    height: int = 440,
    width: int | None = None,
) -> go.Figure:
    """Accuracy against the peak of memory; rows as above with `memory`, bytes."""
    return _against(
        rows,
        "memory",
        "peak memory of a training step",
        theme.si_bytes,
        _leanest(rows, "memory", "memory"),
        name="accuracy-memory",
        chance=chance,
        dark=dark,
        height=height,
        width=width,
    )


_ROWS = [
    {"method": "full", "accuracy": 0.95, "memory": 4.9e9, "stored": 3.4e8, "spread": 0.01},
    {"method": "last", "accuracy": 0.94, "memory": 0.6e9, "stored": 2.4e6},
    {"method": "linear", "accuracy": 0.80, "memory": 0.4e9, "stored": 3.1e4},
]
EXAMPLES = {
    "accuracy_vs_cost": dict(rows=_ROWS, cost="stored"),
    "disagreement": dict(
        shares=np.array([[0, 0.1, 0.2], [0.1, 0, 0.15], [0.2, 0.15, 0]]), names=["1", "2", "3"], images=100
    ),
}
