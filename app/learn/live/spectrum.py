"""One update of a recorded LoRA: as a matrix, as its singular values, and rebuilt from the largest of them.

`accuracy = true` in the settings adds what the run still gets right with a part of the rank, which was measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from app import captions, repeated, screen, theme
from app.drawn import plan
from app.learn.live._recorded import choose, part, slider
from peftcore.figures import theme as look
from peftcore.figures.method_style import method_colour
from peftcore.figures.words import percent
from peftcore.store import gallery

GREY = "#9AA5B1"


def draw(settings: Mapping[str, Any]) -> None:
    run = part("low_rank")["run"]
    found = updates(run)
    layers, projections = sorted({layer for layer, _ in found}), list(dict.fromkeys(name for _, name in found))
    strongest = max(found, key=lambda place: found[place][1].sum())
    with st.container(horizontal=True, vertical_alignment="bottom"):
        layer = slider("spectrum_layer", "layer", layers, strongest[0], width=260)
        projection = choose("spectrum_projection", "projection", projections, strongest[1])
        U, S, V = found[layer, projection]
        rank = slider("spectrum_rank", "rank kept", range(len(S) + 1), 1, width=300)
    theme.show(
        plan(matrices, U, S, V, rank, f"layer {layer}, {projection}", theme.is_dark(), screen.is_phone()),
        "spectrum_matrices",
    )
    with st.container(key=repeated.key_of("wrap_spectrum")):
        columns = st.columns(2 if settings.get("accuracy") else [1, 0.01], gap="small")
    with columns[0]:
        theme.show(plan(values, S, rank, theme.is_dark()), "spectrum_values")
    if settings.get("accuracy"):
        with columns[1]:
            theme.show(plan(accuracies, rank, theme.is_dark()), "spectrum_accuracy")
    captions.caption(
        f"The update of the {projection} projection in layer {layer} that the run “{gallery.record(run)['title']}” "
        "learnt, by its singular value decomposition. Blue: below zero; orange: above.",
        gallery.record(run)["command"],
    )


@lru_cache(maxsize=2)
def updates(run: str) -> dict[tuple[int, str], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """By layer from 1 and projection: U (d_out, r), S (r,), V (r, d_in) of the update (alpha / r) B A. No torch."""
    from safetensors.numpy import load

    blob = gallery.adapter(run) or b""
    method = gallery.record(run)["spec"]["method"]
    weights = load(blob)
    found = {}
    for name, A in weights.items():
        if not name.endswith(".lora_A.weight"):
            continue
        place = name.removesuffix(".lora_A.weight")
        B = weights[f"{place}.lora_B.weight"]
        Q, R = np.linalg.qr(B.astype(float))  # of B A alone, which is thin: its decomposition costs r, not d
        U, S, V = np.linalg.svd(method["alpha"] / method["rank"] * R @ A.astype(float), full_matrices=False)
        parts = place.split(".")
        found[int(parts[parts.index("blocks") + 1]) + 1, parts[-1]] = (Q @ U, S, V)
    return dict(sorted(found.items()))


def matrices(U: np.ndarray, S: np.ndarray, V: np.ndarray, rank: int, where: str, dark: bool, narrow: bool) -> go.Figure:
    """The update, what is kept of it, and what is lost, in one scale."""
    whole = U * S @ V
    kept = (U[:, :rank] * S[:rank]) @ V[:rank]
    reach = float(np.abs(whole).max())
    energy = float((S[:rank] ** 2).sum() / (S**2).sum())
    shown = (("the whole update", whole), (f"its best rank {rank}", kept), ("what is lost", whole - kept))
    figure = make_subplots(1, 3, horizontal_spacing=0.03)
    for column, (name, matrix) in enumerate(shown, 1):
        figure.add_heatmap(
            z=np.round(matrix, 5), zmin=-reach, zmax=reach, colorscale=[list(stop) for stop in look.DIVERGING],
            showscale=False, name=name, row=1, col=column,
            hovertemplate="row %{y}, column %{x}: %{z:.2g}<extra></extra>",
        )  # fmt: skip
        figure.update_xaxes(title_text=name, row=1, col=column)
    bare = dict(showticklabels=False, ticks="", showgrid=False, showline=False, fixedrange=True)
    figure.update_xaxes(**bare, constrain="domain")
    figure.update_yaxes(**bare, autorange="reversed", constrain="domain")
    for number in ("", 2, 3):
        figure.update_layout({f"yaxis{number}": dict(scaleanchor=f"x{number}", scaleratio=1)})
    look.numbered(figure, {"singular value": S.tolist(), "number": list(range(1, len(S) + 1))})
    figure.update_layout(dragmode=False)
    title = f"Rank {rank} of {len(S)} holds {percent(energy)} of the squared size of {where}"
    return look.finish(
        figure, title, name="spectrum-matrices", dark=dark, height=210 if narrow else 400, margin=dict(l=8, r=8, b=34),
        line=80,
    )  # fmt: skip


def values(S: np.ndarray, rank: int, dark: bool) -> go.Figure:
    """The singular values, those that are kept in colour."""
    figure = go.Figure(
        go.Bar(
            x=list(range(1, len(S) + 1)), y=S, name="singular value",
            marker=dict(
                color=[method_colour("lora", dark=dark) if n < rank else GREY for n in range(len(S))],
                pattern=dict(shape=["" if n < rank else "/" for n in range(len(S))]),
            ),
            text=["kept" if n < rank else "" for n in range(len(S))], textposition="outside",
            hovertemplate="number %{x}: %{y:.3g}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title_text="direction, the strongest first", dtick=1)
    figure.update_yaxes(title_text="singular value", range=[0, float(S.max()) * 1.15])
    title = f"The first direction is {S[0] / S[-1]:.1f} times as strong as the last"
    return look.finish(figure, title, name="spectrum-values", dark=dark, height=300)


def accuracies(rank: int, dark: bool) -> go.Figure:
    """Accuracy with the best rank k of every update, measured on the test images."""
    known = part("low_rank")
    rates = known["accuracy"]
    figure = go.Figure()
    figure.add_scatter(
        x=list(range(len(rates))), y=rates, mode="lines+markers", name="accuracy", showlegend=False,
        line_color=method_colour("lora", dark=dark), hovertemplate="rank %{x}: %{y:.1%}<extra></extra>",
    )  # fmt: skip
    figure.add_scatter(
        x=[rank], y=[rates[rank]], mode="markers", name="rank shown", hoverinfo="skip", showlegend=False,
        marker=dict(size=15, color="rgba(0,0,0,0)", line=dict(width=2.5, color="#D55E00")),
    )  # fmt: skip
    figure.update_xaxes(title_text="rank kept of all updates", tickvals=list(range(len(rates))))
    figure.update_yaxes(title_text="test accuracy", range=[0, 1.05], tickformat=".0%")
    title = f"With rank {rank} of every update {percent(rates[rank])} are right"
    return look.finish(figure, title, name="spectrum-accuracy", dark=dark, height=300)
