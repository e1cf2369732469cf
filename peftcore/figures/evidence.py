"""Do head scores mean anything on many tasks? Their rank correlation with causes, and what their order saves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.effects import ORDERS
from peftcore.figures.stability import RHO

ROW = 34  # pixels of a task's row


def by_chance(heads: int) -> float:
    """What a rank correlation over so many heads stays within by chance, 19 times of 20."""
    return 1.96 / math.sqrt(max(heads - 1, 1))


def foretold(
    tasks: Sequence[str],
    rhos: Mapping[str, Sequence[Sequence[float]]],
    *,
    heads: int,
    title: str,
    dark: bool = False,
) -> go.Figure:
    """A row for each task: how each score's ranks go with the change of the loss. A mark is a mean over seeds, a bar
    their span.

    Args:
        rhos: by score, for each task one rank correlation per seed; NaN where there is none.
        heads: over how many a correlation is; what chance stays within 19 times of 20 is shaded.
    """
    if any(len(values) != len(tasks) for values in rhos.values()):
        raise BadData(f"Each score needs one list of correlations for each of the {len(tasks)} tasks.")
    figure, chance = go.Figure(), by_chance(heads)
    figure.add_vrect(x0=-chance, x1=chance, fillcolor=theme.muted(dark), opacity=0.13, line_width=0, layer="below")
    figure.add_vline(x=0, line=dict(color=theme.muted(dark), width=1))
    columns: dict[str, list] = {"score": [], "task": [], "seed": [], "rank correlation": []}
    for number, (score, by_task) in enumerate(rhos.items()):
        colour, symbol = theme.CATEGORIES[number], theme.SYMBOLS[number]
        means = [float(np.mean(values)) for values in by_task]
        shift = (number - (len(rhos) - 1) / 2) * 0.6 / len(rhos)
        figure.add_scatter(
            x=means, y=[place + shift for place in range(len(tasks))], mode="markers", name=words.plain(score),
            text=[words.plain(task) for task in tasks], marker=dict(color=colour, symbol=symbol, size=9),
            error_x=dict(
                type="data", symmetric=False, thickness=1.5, width=0, color=colour,
                array=[max(v) - m for v, m in zip(by_task, means, strict=True)],
                arrayminus=[m - min(v) for v, m in zip(by_task, means, strict=True)],
            ),
            hovertemplate=f"<b>%{{text}}</b><br>{words.plain(score)}: {RHO} %{{x:.2f}}<extra></extra>",
        )  # fmt: skip
        for task, values in zip(tasks, by_task, strict=True):
            for seed, value in enumerate(values):
                for name, one in zip(columns, (score, task, seed, value), strict=True):
                    columns[name].append(one)
    figure.update_xaxes(title_text=f"{RHO} with the change of the loss", range=[-1, 1])
    _rows(figure, tasks)
    theme.numbered(figure, columns)
    note = f"over {heads} heads; shaded: where chance stays 19 times of 20"
    return theme.finish(figure, title, name="foretold", note=note, dark=dark, height=_height(tasks))


def deletion_areas(
    tasks: Sequence[str],
    least: Sequence[float],
    most: Sequence[float],
    random: Sequence[tuple[float, float]],
    *,
    title: str,
    dark: bool = False,
) -> go.Figure:
    """A row for each task: how high its deletion curve lies on average, by the order in which heads went.

    Args:
        least, most, random: the mean rise of the loss in nats while more and more heads are off; of random order the
            lowest and the highest draw.
    """
    if not len(tasks) == len(least) == len(most) == len(random):
        raise BadData(f"There are {len(tasks)} tasks, {len(least)} and {len(most)} areas and {len(random)} bands.")
    figure, places = go.Figure(), list(range(len(tasks)))
    names = [words.plain(task) for task in tasks]
    colour, _, said = ORDERS["random"]
    band = {"x": [], "y": []}  # type: dict[str, list[float | None]]
    for place, (low, high) in zip(places, random, strict=True):
        band["x"] += [low, high, None]
        band["y"] += [place, place, None]
    figure.add_scatter(**band, mode="lines", name=f"{said}, its draws", line=dict(color=colour, width=9),
                       opacity=0.55, hoverinfo="skip")  # fmt: skip
    for order, values, symbol in (("least", least, "circle"), ("most", most, "diamond")):
        colour, _, said = ORDERS[order]
        figure.add_scatter(
            x=list(values), y=places, mode="markers", name=said, text=names,
            marker=dict(color=colour, symbol=symbol, size=10),
            hovertemplate=f"<b>%{{text}}</b><br>{said}: %{{x:+.3f}} nats<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="mean rise of the loss, nats", rangemode="tozero")
    _rows(figure, tasks)
    theme.numbered(
        figure,
        {
            "task": list(tasks), "least responsive first": list(least), "most responsive first": list(most),
            "random, lowest": [low for low, _ in random], "random, highest": [high for _, high in random],
        },
    )  # fmt: skip
    return theme.finish(figure, title, name="deletion-areas", dark=dark, height=_height(tasks))


def _rows(figure: go.Figure, tasks: Sequence[str]) -> None:
    """Tasks on the y axis, the first on top."""
    places = list(range(len(tasks)))
    labels = [words.plain(task) for task in tasks]
    figure.update_yaxes(tickvals=places, ticktext=labels, range=[len(tasks) - 0.4, -0.6], showgrid=True)


def _height(tasks: Sequence[str]) -> int:
    return 150 + ROW * len(tasks)


EXAMPLES = {
    "foretold": dict(
        tasks=("digits", "cells"), rhos={"taylor": [[0.5, 0.4], [0.2, 0.3]], "energy": [[0.1, 0.0], [0.3, 0.1]]},
        heads=64, title="Taylor foretells the loss best",
    ),
    "deletion_areas": dict(
        tasks=("digits", "cells"), least=[0.2, 0.3], most=[0.9, 1.0], random=[(0.4, 0.6), (0.5, 0.7)],
        title="Least responsive first beats random order on 2 of 2 tasks",
    ),
}  # fmt: skip
