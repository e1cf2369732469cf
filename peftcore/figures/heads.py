"""Layer x head pictures: the clickable grid of scores, and its profile by layer.

Layers count from 1 at the bottom and heads from 1 at the left, in every picture. A grid is a scatter of
square markers that fill their cells: they stay sharp in an SVG, where a heatmap becomes pixels. Marker sizes
are pixels, so a grid has a fixed size and must be drawn at it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.figures import lettering, theme, words
from peftcore.figures.squares import (
    SIDES,
    Scale,
    cell_side,
    cells,
    checked,
    colour_axis,
    colour_bar,
    crosses,
    lay_square,
    outline,
    rank_heads,
    squares,
    ticks,
)


def finding(values: np.ndarray, projection: str) -> str:
    """Which head stands out, and by how much."""
    layer, head = np.unravel_index(int(np.nanargmax(np.abs(values))), values.shape)
    median = float(np.nanmedian(np.abs(values)))
    by = f", {words.times(abs(values[layer, head]) / median)} the median head" if median > 0 else ""
    where = f" in {projection}" if projection else ""
    if not np.nanmax(np.abs(values)):
        return f"No head has moved yet{where}"
    alike = np.isclose(np.abs(values[:, head]), abs(values[layer, head]), rtol=1e-9, atol=0)
    if alike.sum() > 1:  # one score for the layers of a stage
        which = "all layers" if alike.all() else f"layers {alike.argmax() + 1} to {len(alike) - alike[::-1].argmax()}"
        return f"Head {head + 1} moved most{where}, {which} together{by}"
    return f"Head {head + 1} of layer {layer + 1} moved most{where}{by}"


def head_grid(
    values: np.ndarray,
    layers: Sequence[str] | None = None,
    heads: int | None = None,
    *,
    score: str,
    projection: str,
    selected: tuple[int, int] | None = None,
    mask: np.ndarray | None = None,
    decided: np.ndarray | None = None,
    ranks: np.ndarray | None = None,
    title: str | None = None,
    note: str | None = None,
    scale: Scale | None = None,
    width: int = 640,
    height: int = 560,
    dark: bool = False,
) -> go.Figure:
    """Scores by layer and head as clickable squares.

    Args:
        values: (layers, heads); NaN where a layer has fewer heads.
        layers: the blocks' paths, shown on hover. heads: the columns to draw, at least those of `values`.
        score, projection: what the numbers are, for title and colour bar.
        selected: (layer, head), both from 0, outlined.
        mask: (layers, heads), True = kept; the other heads are crossed out.
        decided: (layers, heads), the score that decided the mask where that is not `values`; shown on hover.
        ranks: (layers, heads) from 1; computed from the values where not given.
        title, note: replace those made from the scores and the selection.
        scale: how the values are read; by default as multiples of the median head.
        width, height: the most pixels the figure may take; it is drawn at the size its square cells need.

    A click's `customdata` is [layer, head, ...], both from 0.
    """
    values = checked(values)
    rows, columns = values.shape[0], max(values.shape[1], heads or 0)
    ranks = rank_heads(values) if ranks is None else np.asarray(ranks, float)
    cell, colours = cell_side(rows, columns, width, height, SIDES), colour_axis(values)
    scale = scale or Scale.of(values)
    where = np.argwhere(~np.isnan(values))
    count = len(np.unique(ranks[~np.isnan(ranks)]))  # a score that is summed over layers stands in several of them
    paths = [f" (module {words.plain(path)})" for path in layers] if layers is not None else [""] * rows
    data = [
        [
            int(layer),
            int(head),
            scale.text(values[layer, head]),
            int(ranks[layer, head]),
            count,
            paths[layer],
            _state(mask, decided, layer, head),
        ]
        for layer, head in where
    ]
    figure = go.Figure(
        squares(
            values,
            score,
            cell,
            colours | {"colorbar": colour_bar(score, projection, scale, colours)},
            customdata=data,
            hovertemplate="<b>%{text}</b>%{customdata[5]}<br>"
            f"{words.plain(score)} %{{customdata[2]}}, rank %{{customdata[3]}} of %{{customdata[4]}}"
            "%{customdata[6]}<extra></extra>",
        )
    )
    kept = {} if mask is None else {"kept": np.asarray(mask, bool)}
    theme.numbered(figure, cells(values, score, rank=ranks, **kept))
    if np.nanmin(values) < 0:
        signed = values[where[:, 0], where[:, 1]]
        lettering.signs(figure, (where[:, 1], where[:, 0]), signed, colours["cmax"], size=max(9, cell // 3))
    if mask is not None:
        crosses(figure, np.argwhere(~np.asarray(mask, bool) & ~np.isnan(values)), cell)
    if selected is not None:
        outline(figure, *selected)
    lay_square(figure, rows, columns, cell, SIDES)
    note = _selection_note(values, ranks, count, selected, score, scale) if note is None else note
    return theme.finish(
        figure,
        title or finding(values, projection),
        name="head-grid",
        dark=dark,
        margin=SIDES,
        note=note,
        width=figure.layout.width,
        height=figure.layout.height,
        line=max(24, int(figure.layout.width / 8)),
    )


def _state(mask: np.ndarray | None, decided: np.ndarray | None, layer: int, head: int) -> str:
    if mask is None or mask[layer][head]:
        return ""
    if decided is None:
        return "<br>switched off"
    score = Scale.of(decided[layer]).text(decided[layer, head])
    return f"<br>switched off: {score} of its layer by the deciding score"


def _selection_note(
    values: np.ndarray, ranks: np.ndarray, count: int, selected: tuple[int, int] | None, score: str, scale: Scale
) -> str:
    if selected is None or np.isnan(values[selected]):
        return "click a head to look through it"
    layer, head = selected
    said = scale.text(values[selected])
    return f"head {head + 1} of layer {layer + 1}: rank {int(ranks[selected])} of {count}, {score} {said}"


def layer_profile(
    values: np.ndarray, *, score: str = "score", width: int | None = None, height: int = 420, dark: bool = False
) -> go.Figure:
    """Each layer's mean as a bar, its heads as ticks; layers from the bottom, as in the grid."""
    values, scale = checked(values), Scale.of(checked(values))
    values = values / scale.unit
    means = np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in values])
    where = np.argwhere(~np.isnan(values))
    figure = go.Figure(
        go.Bar(
            x=means,
            y=np.arange(len(values)),
            orientation="h",
            showlegend=False,
            name="mean over heads",
            marker=dict(color=theme.muted(dark), opacity=0.45),
            width=0.72,
            customdata=[[layer + 1] for layer in range(len(values))],
            hovertemplate="layer %{customdata[0]}: mean %{x:.3g} times<extra></extra>",
        )
    )
    figure.add_scatter(
        x=values[where[:, 0], where[:, 1]],
        y=where[:, 0],
        mode="markers",
        showlegend=False,
        name="heads",
        marker=dict(symbol="line-ns", size=11, opacity=0.9, line=dict(width=1.6, color=theme.ink(dark))),
        customdata=(where + 1).tolist(),
        hovertemplate="layer %{customdata[0]}, head %{customdata[1]}: %{x:.3g} times<extra></extra>",
    )
    of_layer = np.repeat(means[:, None], values.shape[1], 1)
    theme.numbered(figure, cells(values, f"{score}, times the {scale.name} head", mean_of_layer=of_layer))
    shown = ticks(len(values))
    figure.update_yaxes(
        range=[-0.6, len(values) - 0.4],
        tickvals=shown,
        ticktext=[str(layer + 1) for layer in shown],
        title_text="layer",
        showgrid=False,
    )
    figure.update_xaxes(title_text=f"{score}, times the {scale.name} head<br>(bar: mean, ticks: heads)", nticks=5)
    return theme.finish(
        figure, _profile_title(values, means), name="layer-profile", dark=dark, height=height, width=width
    )


def _profile_title(values: np.ndarray, means: np.ndarray) -> str:
    sums = np.nansum(values, axis=1)
    if not np.nan_to_num(values).any():
        return "No layer has moved yet: every score is zero"
    if (values[~np.isnan(values)] >= 0).all() and sums.sum() > 0:
        top = int(sums.argmax())
        return f"Layer {top + 1} holds {words.percent(sums[top] / sums.sum())} of the score, the sum over all heads"
    return f"Layer {int(np.nanargmax(np.abs(means))) + 1} stands out by its mean"
