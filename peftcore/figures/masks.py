"""Which heads are switched off: a small picture before the run, and a grid whose heads take a click.

Layers count from 1 at the bottom and heads from 1 at the left, as in every grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.squares import SIDES, Scale, cell_side, cells, checked, colour_axis, crosses, lay_square, squares

CUT = "#D55E00"  # the colour of Heart-LoRA, whose cut it is
ROOM = 118  # pixels at the right of a mask for the count of each layer


def heads_off(rows: Sequence[Mapping], *, width: int = 420, height: int = 140, dark: bool = False) -> go.Figure:
    """How many heads will be switched off, as small squares: filled ones stay, hollow ones go.

    Args:
        rows: from the bottom, dicts of `label`, `heads` (how many there are), `off` (how many of them will go, or
            their numbers from 0 where known), and `layers` (how many layers the row stands for).
        width, height: the most pixels the squares may take.
    """
    if not rows:
        raise BadData("A figure of heads needs at least one row.")
    known = any(not isinstance(row["off"], int) for row in rows)
    where = np.array([(y, x) for y, row in enumerate(rows) for x in range(row["heads"])])
    gone = np.array(
        [
            x >= row["heads"] - row["off"] if isinstance(row["off"], int) else x in row["off"]
            for row in rows
            for x in range(row["heads"])
        ]
    )
    columns = max(row["heads"] for row in rows)
    named = len(rows) <= 8
    left = 8 + (6 * max(len(row["label"]) for row in rows) if named else 0)
    title = _going(rows)
    top = theme.title_height(title)
    cell = max(3, int(min(18, (width - left - 12) / columns, (height - top - 6) / len(rows))))
    figure = go.Figure()
    for off, fill, verb in ((False, theme.muted(dark), "stays"), (True, "rgba(0,0,0,0)", "will be switched off")):
        part = where[gone == off]
        hover = "head %{customdata[1]} of %{customdata[0]}" if known else "%{customdata[0]}: one that"
        figure.add_scatter(
            x=part[:, 1],
            y=part[:, 0],
            mode="markers",
            showlegend=False,
            name=verb,
            customdata=[[rows[y]["label"], int(x) + 1] for y, x in part],
            marker=dict(
                symbol="square",
                size=max(2, cell - 4),
                color=fill,
                line=dict(width=1.5 if cell > 6 else 1, color=CUT if off else theme.muted(dark)),
            ),
            hovertemplate=f"{hover} {verb}<extra></extra>",
        )
    bare = dict(showgrid=False, fixedrange=True, showline=False, ticks="", automargin=False)
    figure.update_xaxes(range=[-0.5, columns - 0.5], showticklabels=False, **bare)
    figure.update_yaxes(
        range=[-0.5, len(rows) - 0.5],
        tickvals=list(range(len(rows))) if named else [],
        ticktext=[row["label"] for row in rows],
        **bare,
    )
    theme.numbered(figure, {name: [str(row[name]) for row in rows] for name in ("label", "heads", "off")})
    figure.update_layout(autosize=False, dragmode=False)
    margin = dict(l=left, r=12, t=top, b=6)
    return theme.finish(
        figure,
        title,
        name="heads-off",
        dark=dark,
        margin=margin,
        width=max(width, cell * columns + left + 12),
        height=cell * len(rows) + top + 6,
        line=max(24, width // 8),
    ).update_layout(margin_r=max(12, width - left - cell * columns))


def _going(rows: Sequence[Mapping]) -> str:
    going = sum((row["off"] if isinstance(row["off"], int) else len(row["off"])) * row["layers"] for row in rows)
    return f"{going} of {sum(row['heads'] * row['layers'] for row in rows)} heads will be switched off"


def mask_grid(
    values: np.ndarray,
    off: Sequence[Sequence[int]],
    before: Sequence[Sequence[int]],
    *,
    score: str,
    note: str | None = None,
    width: int = 640,
    height: int = 560,
    dark: bool = False,
) -> go.Figure:
    """Heads to switch on and off by a click: crossed ones are off, framed ones differ from `before`.

    Args:
        values: (layers, heads) scores to choose by; NaN where a layer has fewer heads.
        off, before: numbers from 0 of the heads that are off in each layer, now and in the run.
        note: replaces the small line, which says what differs from the run.

    A click's `customdata` is [layer, head, ...], both from 0.
    """
    values = checked(values)
    margins = SIDES | dict(r=ROOM)
    rows, columns = values.shape
    cell, scale = cell_side(rows, columns, width, height, margins), Scale.of(values)
    where = np.argwhere(~np.isnan(values))
    now, was = ({(layer, head) for layer, heads in enumerate(mask) for head in heads} for mask in (off, before))
    states = ["off" if (layer, head) in now else "on" for layer, head in where.tolist()]
    figure = go.Figure(
        squares(
            values,
            score,
            cell,
            colour_axis(values),
            customdata=[
                [int(layer), int(head), scale.text(values[layer, head]), state]
                for (layer, head), state in zip(where, states, strict=True)
            ],
            hovertemplate=f"<b>%{{text}}</b> is %{{customdata[3]}}<br>{words.plain(score)} %{{customdata[2]}}; "
            "click to change<extra></extra>",
        )
    )
    on = np.ones(values.shape, bool)
    on[tuple(np.array(sorted(now), int).reshape(-1, 2).T)] = False
    theme.numbered(figure, cells(values, score, on=on))
    crosses(figure, np.array(sorted(now), int).reshape(-1, 2), cell)
    for layer, head in sorted(now ^ was):
        box = dict(type="rect", x0=head - 0.45, x1=head + 0.45, y0=layer - 0.45, y1=layer + 0.45)
        figure.add_shape(**box, line=dict(color="#FFFFFF", width=5))
        figure.add_shape(**box, line=dict(color=CUT, width=2.5))
    lay_square(figure, rows, columns, cell, margins)
    there = (~np.isnan(values)).sum(1)
    for layer, heads in enumerate(off):
        changed = len(heads) != len(before[layer])
        text = f"{len(heads)} of {there[layer]} off" + (f", was {len(before[layer])}" if changed else "")
        figure.add_annotation(
            x=1,
            xref="paper",
            y=layer,
            text=f"<b>{text}</b>" if changed else text,
            xanchor="left",
            xshift=8,
            font=dict(size=min(12, max(8, cell - 1))),
        )
    changes = len(now ^ was)
    said = f"{changes} {'head' if changes == 1 else 'heads'} changed, framed" if changes else "as the run has it"
    return theme.finish(
        figure,
        f"{len(now)} of {len(where)} heads off",
        name="mask-grid",
        dark=dark,
        margin=margins,
        note=f"{said}; click a head to switch it" if note is None else note,
        width=figure.layout.width,
        height=figure.layout.height,
    )


def mark_steps(figure: go.Figure, marks: Mapping[int, str], *, dark: bool = False) -> go.Figure:
    """Adds a vertical line with its name at each of the `marks`, through all panels of a curve over steps."""
    last = figure.layout.xaxis.range[1]
    for step, name in marks.items():
        side = "left" if step < 0.7 * last else "right"  # of its text that stands at the line
        figure.add_vline(x=step, line=dict(color=CUT, width=1.5, dash="dot"), row="all", col="all")
        figure.add_annotation(
            x=step,
            y=1,
            yref="y domain",
            text=name,
            xanchor=side,
            yanchor="top",
            xshift=4 if side == "left" else -4,
            font=dict(color=theme.ink(dark), size=12),
        )
    return figure
