"""Heads off by a score beside heads off at random: every run a point, by how many heads are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.masks import CUT

BESIDE = 0.1  # in heads: how far the score's runs stand to the left, and the first random one to the right
APART = 0.03  # in heads: from one random run to the next
RANDOM = "random heads"

Cut = Mapping[str, Any]


def cuts(
    found: Sequence[Cut],
    none_off: Mapping[str, float],
    *,
    heads: int,
    dark: bool = False,
    height: int | None = 420,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """Test accuracy with heads off: the runs of the score's choice and of random masks, and a line through the means.

    Args:
        found: for each number of heads: `off`, that number; `own`, {seed: accuracy}; `random`, [(heads that are off,
            from 0, seed, accuracy)]. Accuracies are in percent.
        none_off: {seed: accuracy} with no head off.
        heads: of each block.
        line: the title's characters per line.
    """
    if not found or not none_off:
        raise BadData("A figure of cuts needs accuracies with no head off, and with some heads off.")
    figure, muted, start = go.Figure(), theme.muted(dark), mean(none_off.values())
    at_random = [[(cut["off"], _named(mask), seed, y) for mask, seed, y in cut["random"]] for cut in found]
    by_score = [[(cut["off"], "", seed, y) for seed, y in cut["own"].items()] for cut in found]
    for name, runs, colour, symbol, dash in (
        (RANDOM, at_random, muted, "circle-open", "dot"),
        ("the score’s heads", by_score, CUT, "diamond", "solid"),
    ):
        places = [[_place(one[0], nth, name) for nth, one in enumerate(own)] for own in runs]
        figure.add_scatter(
            x=[0, *map(mean, places)], y=[start, *(mean(y for *_, y in own) for own in runs)],
            mode="lines", line=dict(color=colour, width=2.5, dash=dash), name="mean",
            hovertemplate=f"{name}, mean: %{{y:.1f}} %<extra></extra>", showlegend=False, legendgroup=name,
        )  # fmt: skip
        figure.add_scatter(
            x=[x for own in places for x in own], y=[y for own in runs for *_, y in own],
            mode="markers", name=name, legendgroup=name, customdata=[one[:3] for own in runs for one in own],
            marker=dict(color=colour, symbol=symbol, size=9, line=dict(width=1.5, color=colour)),
            hovertemplate=f"<b>{name}</b><br>%{{customdata[0]}} off%{{customdata[1]}}, seed %{{customdata[2]}}: "
            "%{y:.1f} %<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[0] * len(none_off), y=list(none_off.values()), mode="markers", name="no head off",
        customdata=list(none_off), marker=dict(color=theme.ink(dark), symbol="square", size=9),
        hovertemplate="no head off, seed %{customdata}: %{y:.1f} %<extra></extra>",
    )  # fmt: skip
    rows = [("none", 0, "", seed, y) for seed, y in none_off.items()]
    rows += [("by the score", *one) for own in by_score for one in own]
    rows += [("at random", *one) for own in at_random for one in own]
    names = ("chosen", "heads off", "which", "seed", "test accuracy (%)")
    theme.numbered(figure, dict(zip(names, zip(*rows, strict=True), strict=True)))
    last = found[-1]["off"]
    figure.update_xaxes(
        title_text=f"heads off, of {heads} in each block", tickvals=[0, *(cut["off"] for cut in found)],
        range=[-0.25, last + BESIDE + APART * max(len(cut["random"]) for cut in found) + 0.1],
    )  # fmt: skip
    figure.update_yaxes(title_text="test accuracy (%)")
    figure.update_layout(hovermode="closest")
    score, chance = (mean(y for *_, y in runs[-1]) for runs in (by_score, at_random))
    return theme.finish(
        figure,
        f"With {last} of {heads} heads off the score’s choice reaches {score:.1f} %, a random one {chance:.1f} %",
        name="cuts", note=f"no head off: {start:.1f} %; lines through the means", dark=dark, height=height, line=line,
    )  # fmt: skip


def _place(off: int, nth: int, name: str) -> float:
    return off - BESIDE if name != RANDOM else off + BESIDE + nth * APART


def _named(mask: Sequence[int]) -> str:
    return f": {', '.join(str(head + 1) for head in mask)}"


EXAMPLES = {
    "cuts": dict(
        found=[
            dict(off=1, own={"0": 72.0, "1": 71.5}, random=[([4], 0, 71.0), ([2], 1, 71.9)]),
            dict(off=3, own={"0": 70.8, "1": 71.0}, random=[([0, 1, 4], 0, 68.0), ([1, 2, 5], 1, 70.1)]),
        ],
        none_off={"0": 72.9, "1": 71.4}, heads=6,
    )
}  # fmt: skip
