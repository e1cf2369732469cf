"""What LoRA keeps for the way down in one step, by the kind of layer that keeps it. Predicted by the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app import captions, screen, theme
from app.drawn import plan
from app.learn.live._recorded import part
from peftcore.figures import theme as look
from peftcore.figures.components import component_colour
from peftcore.figures.words import percent, plain, si_bytes, wrap

COLUMN = 64  # characters of a reason per line
NAME, PITCH = {False: 140, True: 44}, {False: 58, True: 84}  # characters of a bar's name per line, pixels per bar
GAP = {False: 0.52, True: 0.64}  # share of that which is left for the name


def draw(_settings: Mapping[str, Any]) -> None:
    known = part("ledger")
    theme.show(plan(bars, known["kept_by"], theme.is_dark(), narrow=screen.is_phone()), "kept")
    captions.caption(
        f"LoRA on {known['backbone']}, {known['batch']} images, {known['precision']}: bytes that are kept from the way "
        f"up to the way down, by the kind of module that keeps them. {captions.POWERS} Point at a bar to read why.",
        known["command"],
    )


def bars(rows: Sequence[Mapping[str, Any]], dark: bool, narrow: bool = False) -> go.Figure:
    """`rows`: kind, reason and bytes, the largest first. `narrow`: names of bars have two lines."""
    whole = sum(row["bytes"] for row in rows)
    shown = [row for row in rows if row["bytes"] >= 0.01 * whole][::-1]
    figure = go.Figure(
        go.Bar(
            orientation="h", y=list(range(len(shown))), x=[row["bytes"] / 1e6 for row in shown], name="kept",
            marker_color=component_colour("activations"),
            customdata=[[row["kind"], wrap(plain(row["reason"]), COLUMN)] for row in shown],
            text=[si_bytes(row["bytes"]) for row in shown], textposition="outside", cliponaxis=False,
            hovertemplate="%{customdata[0]}: %{x:,.0f} MB<br>%{customdata[1]}<extra></extra>",
        )
    )  # fmt: skip
    for place, row in enumerate(shown):
        name = wrap(f"{row['kind']}: {plain(short(row['reason']))}", NAME[narrow])
        figure.add_annotation(
            x=0, xanchor="left", y=place + 0.57 - GAP[narrow] / 2 + 0.02, yanchor="bottom", text=name, align="left",
            font=dict(color=look.ink(dark), size=12.5),
        )  # fmt: skip
    look.numbered(
        figure,
        {name: [row[name] for row in rows] for name in ("kind", "reason", "bytes")},
    )
    others = sum(row["bytes"] for row in rows if not row["own"])
    figure.update_xaxes(
        title_text="kept for the way down (MB)", range=[0, max(row["bytes"] for row in rows) * 1.2 / 1e6]
    )
    figure.update_yaxes(visible=False, range=[-0.6, len(shown) - 0.1])
    figure.update_layout(bargap=GAP[narrow])
    title = f"{percent(others / whole)} of it is needed by layers that LoRA does not train"
    return look.finish(figure, title, name="kept-by", dark=dark, height=110 + PITCH[narrow] * len(shown), line=90,
                       margin=dict(l=16))  # fmt: skip


def short(reason: str) -> str:
    """What is kept, without why: 'keys, queries, values of fused attention'."""
    kept = [one.partition(":")[0] for one in reason.split("; ")]
    heads, (tail, *others) = zip(*(one.partition(" of ")[::2] for one in kept), strict=True)
    return f"{', '.join(heads)} of {tail}" if tail and set(others) == {tail} else ", ".join(kept)
