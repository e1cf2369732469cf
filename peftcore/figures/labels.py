"""Labels of points, laid out in pixels so that none hides a point or another label; names along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from peftcore.figures import theme, words

SIZE, LETTER, LINE = 12, 5.4, 17.0  # of the letters; pixels of one of them, on average, and of a line
POINT = 18.0  # pixels of a point
STEP, MOST_STEPS = 20.0, 14  # pixels between two places further off, and how many of them there are
Pixels = tuple[float, float]  # from the left, from the top


def shifts(texts: Sequence[str], points: Sequence[Pixels], across: float, down: float) -> list[Pixels]:
    """How far the middle of each text stands from its point, in pixels: beside it, or where there is a crowd further
    up or down. `across`, `down`: the place that all have. A text for which no place is free stands under its point."""
    found: dict[int, Pixels] = {}
    taken = [(x, y, POINT / 2, POINT / 2) for x, y in points]  # middle, and half of width and height
    near = (POINT + LINE) / 2 + 2
    for n in sorted(range(len(points)), key=lambda n: points[n][1]):
        (x, y), half = points[n], LETTER * len(texts[n]) / 2 + 3
        inside = min(max(x, half), max(across - half, half)) - x  # moved sideways where it would leave the place
        beside = [(half + POINT / 2 + 3, 0.0), (-half - POINT / 2 - 3, 0.0)]
        apart = [(inside, way * (near + STEP * k)) for k in range(MOST_STEPS + 1) for way in (1, -1)]
        places = [*beside, *sorted(apart, key=lambda shift: (abs(shift[1]), shift[1]))]

        def is_free(shift: Pixels, x: float = x, y: float = y, half: float = half) -> bool:
            a, b = x + shift[0], y + shift[1]
            is_within = half - 4 <= a <= across + 4 - half and -LINE <= b <= down
            return is_within and all(abs(a - c) >= half + w or abs(b - d) >= LINE / 2 + h for c, d, w, h in taken)

        found[n] = next(filter(is_free, places), (inside, near))
        taken.append((x + found[n][0], y + found[n][1], half, LINE / 2))
    return [found[n] for n in range(len(points))]


def short_ticks(places: Sequence[str], names: Sequence[str], most: int) -> dict[str, Any]:
    """Settings of an axis whose categories are `places`: all of up to `most` are named, and long names end early, or
    they would take the whole figure."""
    said = [words.shortened(str(name)) for name in names]
    if said == list(map(str, names)):
        return dict(dtick=1 if len(names) <= most else None)
    some = slice(None, None, -(-len(names) // most))
    return dict(tickvals=list(places)[some], ticktext=[words.plain(name) for name in said[some]])


def label(
    figure: go.Figure,
    texts: Sequence[str],
    x: Sequence[float],
    y: Sequence[float],
    ranges: tuple[tuple[float, float], tuple[float, float]],
    size: tuple[int, int],
    dark: bool,
) -> None:
    """Annotates points at x, y (as the axes count: of a logarithmic one the logarithm), a line to what stands far off.

    ranges: of both axes. size: pixels of the place between them.
    """
    (left, right), (bottom, top), (across, down) = *ranges, size
    points = [
        (across * (a - left) / (right - left), down * (top - b) / (top - bottom)) for a, b in zip(x, y, strict=True)
    ]
    apart = shifts(texts, points, across, down)
    for n in sorted(range(len(texts)), key=lambda n: -abs(apart[n][1])):  # lines lie behind the labels of others
        is_far = abs(apart[n][1]) > POINT + LINE
        figure.add_annotation(
            x=x[n], y=y[n], text=texts[n], ax=apart[n][0], ay=apart[n][1], xanchor="center", yanchor="middle",
            showarrow=True, arrowhead=0, arrowwidth=1, standoff=POINT / 2, borderpad=0,
            bgcolor="rgba(17,21,26,0.8)" if dark else "rgba(255,255,255,0.8)",
            arrowcolor=theme.muted(dark) if is_far else "rgba(0,0,0,0)", font=dict(size=SIZE, color=theme.ink(dark)),
        )  # fmt: skip
