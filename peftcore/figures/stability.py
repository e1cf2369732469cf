"""Does a head score hold? Rank correlations between scores, over the steps of a warm-up and over images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import lettering, theme, words
from peftcore.figures.effects import rank_correlation
from peftcore.figures.words import correlation, percent

RHO = "Spearman's \N{GREEK SMALL LETTER RHO}"


def correlation_matrix(
    correlations: np.ndarray,
    names: Sequence[str],
    *,
    title: str,
    note: str = "",
    width: int = 460,
    dark: bool = False,
) -> go.Figure:
    """Rank correlations (n, n) between named things, each written into its square; NaN where there is none."""
    values = np.array(correlations, float)
    count = len(names)
    if values.shape != (count, count):
        raise BadData(f"Correlations of {count} things must have shape ({count}, {count}), not {values.shape}.")
    longest = max(map(len, names))
    left = min(26 + int(6.6 * longest), 190)
    cell = max(30, min(max(74, width // 6), (width - left - 16) // count))
    np.fill_diagonal(values, np.nan)
    labels = [words.plain(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=values, x=labels, y=labels, zmin=-1, zmax=1, xgap=1, ygap=1,
            colorscale=[list(stop) for stop in theme.DIVERGING], showscale=False, hoverongaps=False,
            hovertemplate=f"<b>%{{y}}</b> and <b>%{{x}}</b><br>{RHO} %{{z:.2f}}<extra></extra>",
        )
    )  # fmt: skip
    down, across = np.nonzero(~np.isnan(values))
    there = values[down, across]
    places = np.array(labels)[across], np.array(labels)[down]
    lettering.write(
        figure, places, [correlation(value) for value in there], (there + 1) / 2, size=12 if cell > 36 else 10,
        scale=theme.DIVERGING,
    )  # fmt: skip
    bare = dict(showgrid=False, showline=False, ticks="", fixedrange=True, automargin=False)
    figure.update_xaxes(tickangle=-40, **bare)
    figure.update_yaxes(autorange="reversed", **bare)
    bottom = 24 + int(4.6 * longest)
    line = max(24, int((left + cell * count + 16) / (1.2 * theme.LETTER)))  # it fits when type grows on a projector too
    top = theme.title_height(title, line, note)
    size = dict(width=left + cell * count + 16, height=cell * count + top + bottom)
    figure.update_layout(autosize=False, dragmode=False, **size)
    pairs = [(i, j) for i in range(count) for j in range(count) if i < j]
    theme.numbered(
        figure,
        {
            "first": [names[i] for i, _ in pairs],
            "second": [names[j] for _, j in pairs],
            "rank correlation": [float(values[pair]) for pair in pairs],
        },
    )
    margin = dict(l=left, r=16, t=top, b=bottom)
    return theme.finish(
        figure, title, name="correlation-matrix", note=note, dark=dark, margin=margin, line=line, **size
    )


def over_steps(
    steps: Sequence[int],
    rho: Sequence[float],
    same: Sequence[float],
    settled: int,
    *,
    cut: int | None = None,
    height: int = 400,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """How soon scores rank heads, and a cut takes them, as they do at the end.

    Args:
        rho: rank correlation of each step's scores with the last ones.
        same: the share of the heads that would be switched off at the end which would be already. 0 to 1.
        settled: the step from which on they are all the same. cut: the step after which the run switched heads off.
    """
    if len({len(steps), len(rho), len(same)}) != 1 or not len(steps):
        raise BadData(f"Steps, correlations and shares must be as many: {len(steps)}, {len(rho)}, {len(same)}.")
    figure = go.Figure()
    for values, name, colour, dash, symbol in (
        (same, "heads that would be switched off: the same ones", "#0072B2", "solid", "circle"),
        (rho, f"{RHO} of all scores with the last ones", "#D55E00", "dash", "diamond"),
    ):
        figure.add_scatter(
            x=list(steps), y=list(values), mode="lines+markers", name=name, marker=dict(size=6, symbol=symbol),
            line=dict(color=colour, dash=dash, width=2.2),
            hovertemplate="step %{x}: %{y:.2f}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
    if cut is not None:
        figure.add_vline(
            x=cut, line=dict(color=theme.ink(dark), width=1.5, dash="dashdot"), annotation_text="this run's cut",
            annotation_position="bottom right" if cut < 0.6 * max(steps) else "bottom left",
        )  # fmt: skip
    figure.update_xaxes(title_text="step of training", rangemode="tozero")
    figure.update_yaxes(title_text="agreement with the end", range=[min(0.0, *rho) - 0.03, 1.04])
    figure.update_layout(hovermode="closest", margin=dict(b=104))
    theme.numbered(figure, {"step": steps, "rank correlation with the last": rho, "same heads off": same})
    at = list(steps).index(settled)
    title = f"The cut is settled at step {settled} of {steps[-1]}"
    note = f"after {percent(settled / steps[-1])} of the scored steps; scores are means over all steps so far"
    if at == len(steps) - 1 and len(steps) > 1:
        title = f"The cut still changes before the last of {len(steps)} records"
        note = "scores are means over all steps so far"
    return theme.finish(
        figure, title, name="over-steps", dark=dark, height=height, width=width, margin=dict(l=64, r=16, b=104),
        note=note,
        line=words.TITLE_WIDTH if width is None else max(24, width // 8),
    )  # fmt: skip


def over_images(
    images: Sequence[int],
    whole: Sequence[float],
    other: Sequence[float],
    *,
    height: int = 400,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """How many images a score needs: its rank correlation with that of all images, and of as many other ones."""
    others = [(n, v) for n, v in zip(images, other, strict=True) if np.isfinite(v)]
    figure = go.Figure()
    for points, name, colour, dash, symbol in (
        (list(zip(images, whole, strict=True)), "with all images", "#0072B2", "solid", "circle"),
        (others, "with as many other images", "#D55E00", "dash", "diamond"),
    ):
        figure.add_scatter(
            x=[n for n, _ in points], y=[v for _, v in points], mode="lines+markers", name=name,
            line=dict(color=colour, dash=dash, width=2.2), marker=dict(size=7, symbol=symbol),
            hovertemplate=f"%{{x}} images: {RHO} %{{y:.2f}}<extra>%{{fullData.name}}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="images that are scored", type="log", tickvals=list(images), ticktext=list(images))
    lowest = min([0.0, *whole, *(v for _, v in others)])
    figure.update_yaxes(title_text=RHO, range=[lowest - 0.03, 1.04])
    figure.update_layout(hovermode="closest", margin=dict(b=96))
    theme.numbered(figure, {"images": images, "with all": whole, "with as many others": other})
    title = f"{images[0]} images and all {images[-1]} rank heads {alike(whole[0])}: {RHO} {correlation(whole[0])}"
    if others:
        count, rho = others[-1]
        title = f"{count} images and {count} others rank heads {alike(rho)}: {RHO} {correlation(rho)}"
    return theme.finish(
        figure, title, name="over-images", dark=dark, height=height, width=width, margin=dict(l=64, r=16, b=96),
        line=words.TITLE_WIDTH if width is None else max(24, width // 8),
    )  # fmt: skip


def alike(rho: float) -> str:
    """How two rankings compare: 'alike', 'roughly alike', 'only faintly alike', or 'differently'."""
    bounds = ((0.7, "alike"), (0.4, "roughly alike"), (0.2, "only faintly alike"))
    return next((said for least, said in bounds if rho >= least), "differently")


def pairwise(grids: Sequence[np.ndarray]) -> np.ndarray:
    """Spearman's rho between any two grids (layers, heads), over the heads that both have: (n, n), NaN where a grid is
    constant or they share fewer than three."""
    found = np.full((len(grids), len(grids)), np.nan)
    for i, first in enumerate(grids):
        for j, second in enumerate(grids):
            if (np.isfinite(first) & np.isfinite(second)).sum() >= 3:
                found[i, j] = rank_correlation(first, second)[0]
    return found


def agreeing(correlations: np.ndarray, names: Sequence[str]) -> str:
    """Which two agree best, and which least, in a sentence."""
    pairs = [(i, j) for i in range(len(names)) for j in range(i) if np.isfinite(correlations[i, j])]
    if not pairs:
        return "There is nothing to compare"
    best, least = (pick(pairs, key=lambda pair: correlations[pair]) for pick in (max, min))

    def said(pair: tuple[int, int]) -> str:
        return f"{names[pair[1]]} and {names[pair[0]]} (\N{GREEK SMALL LETTER RHO} = {correlation(correlations[pair])})"

    if len(pairs) == 1:
        return f"How far they agree: {said(best)}"
    both = f"{said(best)} agree best, {said(least)} least"
    return both[:1].upper() + both[1:]


_RANDOM = np.corrcoef(np.random.default_rng(0).normal(size=(4, 30)))
EXAMPLES = {
    "correlation_matrix": dict(
        correlations=_RANDOM, names=["taylor", "energy", "conductance", "<b>"], title="Scores agree roughly"
    ),
    "over_steps": dict(steps=[5, 10, 15, 20], rho=[0.4, 0.8, 0.9, 1.0], same=[0.5, 0.9, 1.0, 1.0], settled=15, cut=12),
    "over_images": dict(images=[10, 20, 40, 80], whole=[0.6, 0.8, 0.9, 1.0], other=[0.5, 0.6, 0.7, np.nan]),
}
