"""Which method fits a budget, and how much of a comparison is the seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import kind_symbol, method_colour, method_in_text, method_kind, method_title

FADED = 0.25
# Where a name may stand beside its point, and how far its box then reaches: left and right in widths of the name, down
# and up in lines.
LABELS = {
    "top center": (-0.5, 0.5, 0.5, 1.7), "middle right": (0.0, 1.0, -0.5, 0.5), "middle left": (-1.0, 0.0, -0.5, 0.5),
    "bottom center": (-0.5, 0.5, -1.7, -0.5),
}  # fmt: skip
PLOT = (262.0, 215.0)  # pixels of a plot in which names are set apart: about as on a phone
LETTER, LINE, POINT = 7.0, 15.0, 9.0  # of a name's letter and line, and of half a point
TICKS = [n * 10**power for power in range(6) for n in (1, 2, 5)]  # MB


def within_budget(
    rows: Sequence[Mapping[str, Any]],
    budget: Mapping[str, float],
    *,
    lines: Mapping[str, float] | None = None,
    dark: bool = False,
    height: int = 430,
) -> go.Figure:
    """Mean accuracy against the peak memory of a training step: methods within the budget stand out, others fade.

    Args:
        rows: dicts of `method`, `accuracy` in percent, `bytes`, `seconds`, `weights`.
        budget: the most of `bytes`, `seconds` and `weights`; what is not named is not bounded.
        lines: a vertical line's name and bytes.
    """
    if not rows:
        raise BadData("A choice between methods needs at least one method.")
    fits = [all(row[name] <= most for name, most in budget.items()) for row in rows]
    best = max((row for row, fit in zip(rows, fits, strict=True) if fit), key=lambda row: row["accuracy"], default=None)
    figure = go.Figure()
    ends = [row["bytes"] / 1e6 for row in rows] + [most / 1e6 for most in (lines or {}).values()]
    reach = 0.7 * min(ends), 3.4 * max(ends)  # room for the names
    places = _labels(rows, best, reach)
    for row, fit, place in zip(rows, fits, places, strict=True):
        kind = method_kind(row["method"])
        figure.add_scatter(
            x=[row["bytes"] / 1e6], y=[row["accuracy"]], mode="markers+text" if place else "markers",
            text=[method_title(row["method"])], textposition=place or "top center", showlegend=not place,
            opacity=1 if fit else FADED, cliponaxis=False,
            name=method_title(row["method"]),
            marker=dict(
                color=method_colour(row["method"], dark=dark), size=20 if row is best else 13,
                symbol=kind_symbol(kind), line=dict(width=2 if row is best else 0, color=theme.ink(dark)),
            ),
            customdata=[[f"{row['seconds']:.0f} s", words.human_count(row["weights"]), "" if fit else ", over budget"]],
            hovertemplate="<b>%{fullData.name}</b>%{customdata[2]}<br>%{y:.1f} % at %{x:,.0f} MB<br>"
            "%{customdata[0]}, %{customdata[1]} trained weights<extra></extra>",
        )  # fmt: skip
    for name, most in (lines or {}).items():
        figure.add_vline(
            x=most / 1e6, line=dict(color=theme.muted(dark), width=1.5, dash="dash"), annotation_text=words.plain(name),
            annotation_position="bottom right",
        )  # fmt: skip
    accuracies = [row["accuracy"] for row in rows]
    figure.update_xaxes(title_text="peak memory of a training step (MB)", type="log", tickvals=TICKS, tickformat=",")
    figure.update_xaxes(range=[math.log10(end) for end in reach])
    figure.update_yaxes(title_text="mean test accuracy (%)", range=[min(accuracies) - 5, max(accuracies) + 5])
    theme.numbered(
        figure,
        {name: [row[name] for row in rows] for name in ("method", "accuracy", "bytes", "seconds", "weights")}
        | {"within budget": fits},
    )
    title = (
        "No method fits this budget" if best is None
        else f"Within this budget {method_in_text(best['method'])} is best: {best['accuracy']:.1f} %"
    )  # fmt: skip
    return theme.finish(
        figure, title, name="within-budget", dark=dark, height=height, note=f"{sum(fits)} of {len(fits)} methods fit",
        line=words.NARROW,
    )  # fmt: skip


def _labels(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any] | None, reach: tuple[float, float]) -> list[str]:
    """Where each point's name stands: on no other's name or point, and not past the axis; "" where it has no room, and
    is in the legend. The best has its name in any case. `reach`: of the axis, in MB."""
    low, high = (math.log(1e6 * end) for end in reach)
    accuracies = [row["accuracy"] for row in rows]
    up = max(max(accuracies) - min(accuracies), 1e-9)
    across = [PLOT[0] * (math.log(row["bytes"]) - low) / (high - low) for row in rows]
    at = [(x, PLOT[1] * value / up) for x, value in zip(across, accuracies, strict=True)]
    points = [(x - POINT, x + POINT, y - POINT, y + POINT) for x, y in at]
    taken, places = list[tuple[float, ...]](), dict[int, str]()
    for i in sorted(range(len(rows)), key=lambda i: (rows[i] is not best, -rows[i]["accuracy"])):
        width, (x, y) = LETTER * len(method_title(rows[i]["method"])) + 2 * POINT, at[i]
        for place, (left, right, down, top) in LABELS.items():
            box = (x + left * width, x + right * width, y + down * LINE, y + top * LINE)
            others = [*taken, *(point for j, point in enumerate(points) if j != i)]
            hit = any(a < box[1] and box[0] < b and c < box[3] and box[2] < d for a, b, c, d in others)
            if box[0] >= 0 and not hit:
                places[i] = place
                taken.append(box)
                break
    return [places.get(i, "middle right" if row is best else "") for i, row in enumerate(rows)]


def seed_rolls(
    results: Mapping[str, Mapping[str, Sequence[float]]],
    chosen: Mapping[str, int],
    *,
    dark: bool = False,
    height: int | None = None,
) -> go.Figure:
    """Two methods on each task: every seed's accuracy as a small dot, the seed that was rolled as a large one.

    Args:
        results: {method: {task: accuracies in percent, one per seed}} of two methods.
        chosen: {method: which seed was rolled, from 0}.
    """
    if len(results) != 2 or set(results) != set(chosen):
        raise BadData(f"Seeds are compared of two methods with a roll of each, not of {', '.join(results) or 'none'}.")
    (first, one), (second, other) = results.items()
    tasks = sorted(one, key=lambda task: fmean(one[task]) - fmean(other[task]))
    figure, columns = go.Figure(), {name: [] for name in ("task", "method", "seed", "accuracy (%)", "rolled")}  # type: ignore[var-annotated]
    for shift, (method, by_task) in zip((-0.14, 0.14), results.items(), strict=True):
        colour, title = method_colour(method, dark=dark), method_title(method)
        for rolled in (False, True):
            points = [
                (value, place + shift, seed)
                for place, task in enumerate(tasks)
                for seed, value in enumerate(by_task[task])
                if (seed == chosen[method] % len(by_task[task])) == rolled
            ]
            figure.add_scatter(
                x=[x for x, *_ in points], y=[y for _, y, _ in points], mode="markers", name=title, showlegend=rolled,
                marker=dict(
                    color=colour, size=13 if rolled else 7, opacity=1 if rolled else 0.4,
                    symbol=kind_symbol(method_kind(method)) if method == first else "square",
                ),
                customdata=[seed for *_, seed in points],
                hovertemplate=f"<b>{title}</b>, seed %{{customdata}}<br>%{{x:.1f}} %<extra></extra>",
            )  # fmt: skip
        for task in tasks:
            for seed, value in enumerate(by_task[task]):
                row = (task, method, seed, value, seed == chosen[method] % len(by_task[task]))
                for name, cell in zip(columns, row, strict=True):
                    columns[name].append(cell)
    theme.numbered(figure, columns)
    figure.update_xaxes(title_text="test accuracy (%)")
    names = [words.plain(task.replace("_", " ")) for task in tasks]
    figure.update_yaxes(tickvals=list(range(len(tasks))), ticktext=names, range=[-0.6, len(tasks) - 0.4], ticks="")
    figure.update_layout(hovermode="closest", margin=dict(b=92))
    won, means = wins(results, chosen), wins(results, None)
    name = method_title(first)
    return theme.finish(
        figure, f"This roll: {name} wins {won} of {len(tasks)} tasks; by the means {means}", name="seed-rolls",
        dark=dark,
        height=height or 190 + 34 * len(tasks), margin=dict(l=100, r=16, b=92), line=words.NARROW,
        note=f"against {method_in_text(second)}; small: the other seeds",
    )  # fmt: skip


def wins(results: Mapping[str, Mapping[str, Sequence[float]]], chosen: Mapping[str, int] | None) -> int:
    """On how many tasks the first of two methods is above the second: by the rolled seeds, or by the means."""
    (first, one), (second, other) = results.items()

    def of(method: str, values: Sequence[float]) -> float:
        return fmean(values) if chosen is None else values[chosen[method] % len(values)]

    return sum(of(first, one[task]) > of(second, other[task]) for task in one)


_ROWS = [
    dict(method="lora", accuracy=50.0, bytes=2e8, seconds=40.0, weights=30_000),
    dict(method="linear", accuracy=30.0, bytes=1e7, seconds=5.0, weights=1_000),
]
EXAMPLES = {
    "within_budget": dict(rows=_ROWS, budget={"bytes": 1e8}, lines={"memory": 1e8}),
    "seed_rolls": dict(
        results={"lora": {"cells": [50, 54], "shapes": [40, 41]}, "last": {"cells": [52, 51], "shapes": [30, 45]}},
        chosen={"lora": 0, "last": 1},
    ),
}
