"""What an experiment came to: each group's mean along the x axis, with the span of its seeds."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import kind_symbol, method_colour, method_kind

AXIS = 30  # letters of a line of the y axis's title: a phone's long titles leave it little height
DASHES = ("solid", "dash", "dot", "dashdot")
FILLED = ("", "-open", "-dot", "-open-dot")  # ways in which Plotly fills a symbol
OFFSET = 0.12  # between the marks of two groups where the x axis has names


def outcome(
    rows: Sequence[Mapping[str, Any]],
    *,
    title: str,
    x: str,
    y: str,
    log: str = "",
    note: str = "",
    dark: bool = False,
    height: int | None = 420,
    line: int = words.TITLE_WIDTH,
) -> go.Figure:
    """A curve for each group; where x has names in place of numbers, marks beside each other. Bars span the seeds.

    Args:
        rows: with group, x, seed, value in the unit of `y`, and method.
        title: what was found. x, y: titles of the axes. log: which of them are logarithmic, such as "x".
        line: the title's characters per line.
    """
    if not rows:
        raise BadData("A figure of an experiment needs at least one measured row.")
    figure = go.Figure()
    groups, places = list(dict.fromkeys(row["group"] for row in rows)), list(dict.fromkeys(row["x"] for row in rows))
    named = any(isinstance(place, str) for place in places)
    for nth, (group, (colour, symbol)) in enumerate(zip(groups, _looks(rows, groups, dark), strict=True)):
        dash = DASHES[nth % len(DASHES)]
        by_place = {p: [r["value"] for r in rows if r["group"] == group and r["x"] == p] for p in places}
        own = [place for place in places if by_place[place]]
        means = [sum(by_place[place]) / len(by_place[place]) for place in own]
        shift = (nth - (len(groups) - 1) / 2) * OFFSET
        figure.add_scatter(
            x=[places.index(place) + shift for place in own] if named else own, y=means, name=group,
            mode="markers" if named else "lines+markers", marker=dict(color=colour, size=9, symbol=symbol),
            line=dict(color=colour, width=2, dash=dash), text=[str(place) for place in own],
            error_y=dict(
                type="data", symmetric=False, thickness=1.5, width=4, color=colour,
                array=[max(by_place[place]) - mean for place, mean in zip(own, means, strict=True)],
                arrayminus=[mean - min(by_place[place]) for place, mean in zip(own, means, strict=True)],
            ),
            hovertemplate=f"<b>{words.plain(group)}</b><br>%{{text}}: %{{y:.4g}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=x, type="log" if "x" in log and not named else "linear")
    ticks = [_broken(str(place)) for place in places] if named else [f"{place:,g}" for place in sorted(places)]
    figure.update_xaxes(tickvals=list(range(len(places))) if named else sorted(places), ticktext=ticks)
    if named:  # Plotly leaves out a name that would go past the figure's edge: slanted ones end at their ticks
        figure.update_xaxes(range=[-0.5, len(places) - 0.5], autotickangles=[0, -30, -90], ticklabeloverflow="allow")
    figure.update_yaxes(title_text="<br>".join(wrap(y, AXIS)), type="log" if "y" in log else "linear")
    if "y" in log:
        marks = [factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5)]
        figure.update_yaxes(tickvals=marks, ticktext=[f"{mark:g}" for mark in marks])
    figure.update_layout(
        meta={"numbers": [{"group": r["group"], x: r["x"], "seed": r["seed"], y: r["value"]} for r in rows]}
    )
    return theme.finish(figure, title, name="outcome", note=note, dark=dark, height=height, line=line)


def _broken(name: str) -> str:
    """A long name on two lines: 'vit_small_<br>patch16_224'."""
    return re.sub(r"^(.{8,}?[_ ])(?=.{6})", r"\1<br>", name)


def _looks(rows: Sequence[Mapping[str, Any]], groups: Sequence[str], dark: bool) -> list[tuple[str, str]]:
    """Colour and symbol of each group: its method's colour and, as long as there are symbols, one of its own."""
    methods = [next(row["method"] for row in rows if row["group"] == group) for group in groups]
    looks: list[tuple[str, str]] = []
    for name in methods:
        plain = (kind_symbol(method_kind(name)), *theme.SYMBOLS)
        symbols, used = [symbol + filled for filled in FILLED for symbol in plain], [symbol for _, symbol in looks]
        looks.append((method_colour(name, dark=dark), min(symbols, key=used.count)))  # of those used least, the first
    return looks


_ROWS = [
    dict(group=group, x=x, seed=seed, value=60.0 + x + seed, method=method)
    for group, method in (("LAST", "last"), ("LoRA", "lora"))
    for x in (4, 8, 16)
    for seed in (0, 1)
]
EXAMPLES = {"outcome": dict(rows=_ROWS, title="Rank 16 scores highest", x="rank", y="test accuracy (%)", log="x")}
