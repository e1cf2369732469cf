"""What accuracy costs: against seconds while methods train, and against the bytes of a step above the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from statistics import mean, stdev
from typing import Any

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import (
    kind_dash,
    kind_symbol,
    method_colour,
    method_in_text,
    method_kind,
    method_title,
)

Row = Mapping[str, Any]
Pair = tuple[str, str]  # a task and a seed
EQUAL = {  # what accuracies are told of, the first there is
    "time": "in equal time",
    "epochs": "in equally many epochs",
    "memory": "in equal memory",
}


def against_time(
    rows: Sequence[Row],
    *,
    at: float | None = None,
    chances: Mapping[str, float] | None = None,
    dark: bool = False,
    height: int | None = 420,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """Mean accuracy on validation images by seconds of training: a curve per method, its band the spread over seeds.

    Args:
        rows: of one backbone and the budget of equal time, as assets/mini_vtab.json has them.
        at: seconds at which a line stands, and of which the title tells.
        chances: by task, the accuracy of guessing in percent; a line stands at the mean of those in the figure.
        line: the title's characters per line.
    """
    pairs = _pairs(rows, "curves")
    figure, ends = go.Figure(), after(rows, inf if at is None else at)
    for row in rows:
        title, colour, dash = _title(row), method_colour(row["method"], dark=dark), _dash(row)
        curve = _curve(row, pairs)
        x = [seconds for seconds, _, _ in curve]
        low, high = ([middle + sign * spread for _, middle, spread in curve] for sign in (-1, 1))
        if any(spread for _, _, spread in curve):
            figure.add_scatter(
                x=[*x, *x[::-1]], y=[*high, *low[::-1]], mode="lines", fill="toself", fillcolor=colour, opacity=0.15,
                line=dict(width=0), hoverinfo="skip", showlegend=False, legendgroup=title,
            )  # fmt: skip
        figure.add_scatter(
            x=x, y=[middle for _, middle, _ in curve], mode="lines", name=title, legendgroup=title,
            line=dict(color=colour, width=2, dash=dash),
            hovertemplate=f"<b>{title}</b><br>%{{y:.1f}} % after %{{x:.0f}} s<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="seconds of training on one core", rangemode="tozero")
    figure.update_yaxes(title_text="validation accuracy (%)", rangemode="tozero")
    said = "In equal time" if at is None else f"After {at:.0f} s"
    _guessing(figure, pairs, chances, dark)
    if at is not None:
        figure.add_vline(x=at, line=dict(color=theme.muted(dark), width=1.5, dash="dash"))
    best = max(ends, key=ends.__getitem__, default=None)
    reached = "none has finished an epoch" if best is None else f"{_in_text(best, rows)} reaches {ends[best]:.0f} %"
    return theme.finish(
        figure, f"{said} {reached}", name="against_time", note=_note(pairs), dark=dark, height=height, line=line,
    )  # fmt: skip


def after(rows: Sequence[Row], seconds: float) -> dict[str, float]:
    """What the curves of `against_time` have reached by then, in percent by method as published or with its recipe;
    methods that had no epoch validated are left out."""
    pairs, reached = _pairs(rows, "curves"), {}
    for row in rows:
        if passed := [middle for when, middle, _ in _curve(row, pairs) if when <= seconds]:
            reached[_title(row)] = passed[-1]
    return reached


def against_memory(
    rows: Sequence[Row],
    *,
    chances: Mapping[str, float] | None = None,
    dark: bool = False,
    height: int | None = 420,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """Mean test accuracy by the bytes of a step above the weights: a point per method with the spread over seeds, and a
    line to what it reaches with the batches that fit the equal memory.

    Args:
        rows: of one backbone: equal epochs and equal memory where that was run on all of their tasks and seeds; else
            the one of equal epochs and equal time that covers more of them.
        chances: as in `against_time`.
        line: the title's characters per line.
    """
    by = {budget: [row for row in rows if row["budget"] == budget] for budget in ("epochs", "time", "memory")}
    pairs_of = {budget: even(whole(own, "tasks")) for budget, own in by.items()}
    both = bool(pairs_of["epochs"]) and set(pairs_of["epochs"]) <= set(whole(by["memory"], "tasks"))
    of = "epochs" if both or len(pairs_of["epochs"]) >= len(pairs_of["time"]) else "time"
    pairs, full = _pairs(by[of], "tasks"), by[of]
    small, shared = by["memory"] if of == "epochs" else [], set(pairs)
    figure = go.Figure()
    reached: list[tuple[float, float, str, int]] = []
    for row in full:
        title, colour = _title(row), method_colour(row["method"], dark=dark)
        middle, spread = _over_seeds({pair: row["tasks"][pair[0]][pair[1]] for pair in pairs})
        points = [(row["bytes"] / 1e6, middle, spread, row["batch_size"])]
        for other in small:
            values = {(task, seed): v for task, by_seed in other["tasks"].items() for seed, v in by_seed.items()}
            if _title(other) == title and other["batch_size"] < row["batch_size"] and shared <= set(values):
                points.insert(
                    0, (other["bytes"] / 1e6, *_over_seeds({p: values[p] for p in pairs}), other["batch_size"])
                )
        figure.add_scatter(
            x=[x for x, *_ in points], y=[y for _, y, *_ in points], mode="lines+markers", name=title,
            error_y=dict(type="data", array=[error for _, _, error, _ in points], thickness=1, width=3),
            line=dict(color=colour, width=1, dash=_dash(row)),
            marker=dict(color=colour, size=10, symbol=_symbol(row)),
            customdata=[batch for *_, batch in points],
            hovertemplate=f"<b>{title}</b><br>%{{y:.1f}} %, %{{x:.0f}} MB, batches of %{{customdata}}<extra></extra>",
        )  # fmt: skip
        reached += [(y, x, title, batch) for x, y, _, batch in points]
    figure.update_xaxes(title_text="MB of a step above the weights", type="log", dtick=1)  # powers of ten
    figure.update_yaxes(title_text="test accuracy (%)", rangemode="tozero")
    _guessing(figure, pairs, chances, dark)
    accuracy, megabytes, best, batch = max(reached)
    said = f", in batches of {batch}" if batch < full[0]["batch_size"] else ""
    return theme.finish(
        figure,
        f"{EQUAL[of].capitalize()} {_in_text(best, full)} reaches {accuracy:.0f} % with {megabytes:.0f} MB above the "
        f"weights{said}",
        name="against_memory", note=_note(pairs), dark=dark, height=height, line=line,
    )  # fmt: skip


def _title(row: Row) -> str:
    return method_title(row["method"]) + (", as published" if row["published"] else "")


def _in_text(title: str, rows: Iterable[Row]) -> str:
    """A row's title in the middle of a sentence."""
    row = next(row for row in rows if _title(row) == title)
    return title.replace(method_title(row["method"]), method_in_text(row["method"]), 1)


def _dash(row: Row) -> str:
    return "dot" if row["published"] else kind_dash(method_kind(row["method"]))


def _symbol(row: Row) -> str:
    return kind_symbol(method_kind(row["method"])) + ("-open" if row["published"] else "")


def whole(rows: Sequence[Row], what: str) -> list[Pair]:
    """The pairs of task and seed of which every row has `what` ("tasks" or "curves"), in the first one's order."""
    found = [[(task, seed) for task, by_seed in row[what].items() for seed in by_seed] for row in rows]
    return [pair for pair in found[0] if all(pair in own for own in found)] if found else []


def even(pairs: Sequence[Pair]) -> list[Pair]:
    """Those of the tasks that have the most seeds: where a spread over seeds is told, each task has as many."""
    seeds = Counter(task for task, _ in pairs)
    return [pair for pair in pairs if seeds[pair[0]] == max(seeds.values())]


def equals(rows: Sequence[Row], backbone: str) -> dict[str, list[Row]]:
    """The rows of each budget of EQUAL under which all methods ran on some task and seed."""
    own = {name: [row for row in rows if (row["backbone"], row["budget"]) == (backbone, name)] for name in EQUAL}
    return {name: found for name, found in own.items() if whole(found, "tasks")}


def equal(rows: Sequence[Row], backbone: str) -> tuple[str, list[Row]]:
    """The first budget of `equals` and its rows; "" and none where there is none."""
    return next(iter(equals(rows, backbone).items()), ("", []))


def by_task(row: Row, pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """A row's accuracies on test images in percent: for each task one for each seed."""
    return {
        name: [row["tasks"][task][seed] for task, seed in pairs if task == name]
        for name in dict.fromkeys(task for task, _ in pairs)
    }


def _pairs(rows: Sequence[Row], what: str) -> list[Pair]:
    if pairs := even(whole(rows, what)):
        return pairs
    raise BadData("A figure of budgets needs at least one task and seed that every method was run on.")


def _curve(row: Row, pairs: Sequence[Pair]) -> list[tuple[float, float, float]]:
    """(seconds, mean accuracy, spread over seeds) at each epoch that was validated."""
    before, after, epochs = row["seconds_before"], row["seconds"], row["epochs"]
    found = {pair: dict(map(tuple, row["curves"][pair[0]][pair[1]])) for pair in pairs}
    shared = sorted(set.intersection(*(set(curve) for curve in found.values())))
    points = []
    for epoch in shared:
        middle, spread = _over_seeds({pair: curve[epoch] for pair, curve in found.items()})
        points.append((before + (after - before) * epoch / epochs, middle, spread))
    return points


def _over_seeds(values: Mapping[Pair, float]) -> tuple[float, float]:
    """Mean over tasks, then the mean and the standard deviation over seeds; 0 of one seed."""
    seeds = sorted({seed for _, seed in values})
    means = [mean(value for (_, of), value in values.items() if of == seed) for seed in seeds]
    return mean(means), stdev(means) if len(means) > 1 else 0.0


def _guessing(figure: go.Figure, pairs: Iterable[Pair], chances: Mapping[str, float] | None, dark: bool) -> None:
    if chances:
        level = mean(chances[task] for task in {task for task, _ in pairs})
        muted = theme.muted(dark)
        figure.add_hline(
            y=level, line=dict(color=muted, width=1, dash="dot"), annotation_text=f"chance {level:.0f} %",
            annotation_position="top right", annotation_font=dict(color=muted, size=11),
        )  # fmt: skip


def _note(pairs: Iterable[Pair]) -> str:
    tasks, seeds = ({pair[at] for pair in pairs} for at in (0, 1))
    return f"mean over {words.how_many(len(tasks), 'task')}, {words.how_many(len(seeds), 'seed')}"


_ROW = dict(
    method="last", published=False, budget="epochs", batch_size=64, epochs=2, seconds_before=1.0, seconds=5.0,
    bytes=4e7, tasks={"cells": {"0": 50.0, "1": 54.0}},
    curves={"cells": {"0": [(1, 40.0), (2, 52.0)], "1": [(1, 44.0), (2, 56.0)]}},
)  # fmt: skip
EXAMPLES = {
    "against_time": dict(rows=[_ROW, _ROW | dict(method="lora", seconds=9.0)], chances={"cells": 16.7}),
    "against_memory": dict(
        rows=[_ROW, _ROW | dict(budget="memory", batch_size=16, bytes=2e7)], chances={"cells": 16.7}
    ),
}
