"""Runs side by side: their curves on one axis, and where they disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import lettering, theme, words
from peftcore.figures.curves import loss_top, mark_chance
from peftcore.figures.method_style import kind_dash, method_colour, method_kind
from peftcore.figures.squares import cell_side

FINE = 0.1  # where all runs differ on less of the images than this, a share is told to a tenth of a percent
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
        colour, name = method_colour(method, kind, dark), words.plain(label)
        figure.add_scatter(
            x=frame[x],
            y=frame[y],
            mode="lines+markers",
            name=name,
            legendgroup=label,
            line=dict(color=colour, width=2.2, dash=kind_dash(method_kind(method, kind))),
            marker=dict(symbol=theme.SYMBOLS[nth % len(theme.SYMBOLS)], size=7, color=colour, maxdisplayed=15),
            hovertemplate=f"<b>{name}</b><br>{AXES.get(x, x)} %{{x}}<br>{AXES.get(y, y)} %{{y:.3f}}<extra></extra>",
        )
        if np.isfinite(float(frame[y].iloc[-1])):
            last[label] = float(frame[y].iloc[-1])
    accuracy = "accuracy" in y
    top = 1.03 if accuracy else loss_top(frame[y].to_numpy(float) for frame in runs.values() if len(frame))
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
    title = f"{words.plain(best)} {word} {last[best]:.3f}"
    if len(order) > 1:
        gap = abs(last[best] - last[order[1]])
        second = words.plain(order[1])
        word = "ahead of" if higher else "below"
        title += f", level with {second}" if gap < 5e-4 else f", {gap:.3f} {word} {second}"
    return title


def disagreement(
    shares: np.ndarray, names: Sequence[str], *, images: int, dark: bool = False, width: int = 460, height: int = 420
) -> go.Figure:
    """The share of images that two runs classify differently, as squares. `shares`: (runs, runs)."""
    many, margins = len(names), dict(l=64, r=92, t=66, b=64)
    side = min(64, cell_side(many, many, width, height, margins))
    size = {"width": side * many + margins["l"] + margins["r"], "height": side * many + margins["t"] + margins["b"]}
    plain = [words.plain(name) for name in names]
    apart = np.where(np.eye(many, dtype=bool), np.nan, np.asarray(shares, float))
    most = float(np.max(shares)) or 1.0
    digits = 0 if most >= FINE else 1
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
            colorbar=dict(thickness=12, outlinewidth=0, tickformat=f".{digits}%"),
        )
    )
    if side >= 26:
        down, across = np.nonzero(np.isfinite(apart))
        there = apart[down, across]
        lettering.write(figure, (across, down), [f"{100 * share:.{digits}f}" for share in there], there / most, size=12)
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
    least, largest = (words.percent(float(of)) for of in (np.nanmin(apart), np.nanmax(apart)))
    spread = largest if least == largest else f"{least} to {largest}"
    title = f"Two runs differ on {spread} of {images:,} images"
    return theme.finish(
        figure, title, name="disagreement", dark=dark, margin=margins, line=max(24, (size["width"] - 20) // 8),
        width=size["width"], height=size["height"],
    )  # fmt: skip


EXAMPLES = {
    "disagreement": dict(
        shares=np.array([[0, 0.1, 0.2], [0.1, 0, 0.15], [0.2, 0.15, 0]]), names=["1", "2", "3"], images=100
    ),
}
