"""What LAST's recursion carries from group to group, with its correction and without. Recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from app import captions, theme
from app.drawn import plan
from app.learn.live._recorded import choose, part, slider
from peftcore.figures import theme as look
from peftcore.figures.components import PATTERN, component_colour
from peftcore.figures.method_style import method_colour
from peftcore.figures.words import times
from peftcore.store import gallery

FROZEN, CARRIED = component_colour("frozen_weights"), component_colour("activations")


def draw(_settings: Mapping[str, Any]) -> None:
    known = part("side")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        group = slider("recursion_group", "groups passed", range(known["groups"] + 1), known["groups"], width=300)
        correct = choose("recursion_correct", "bias correction", ("on", "off"), "off") == "on"
    theme.show(plan(bars, known["steps"], group, correct, theme.is_dark()), "recursion")
    captions.caption(
        f"The run “{gallery.record(known['run'])['title']}” as it was trained, on {known['images']} test images: mean "
        "lengths of tokens after each group of layers. Hatched: subtracted at the end.",
        known["command"],
    )


def bars(steps: Sequence[Mapping[str, float]], group: int, correct: bool, dark: bool) -> go.Figure:
    """`steps`: of each group from 0, the mean lengths `z`, `sum` and `added`."""
    names = [f"z<sub>{number}</sub>" for number in range(len(steps))]
    upto = steps[: group + 1]
    figure = go.Figure()
    for name, key, colour, shape in (
        ("the frozen feature z of this group", "z", FROZEN, ""),
        ("the sum of all z so far, which u carries", "sum", CARRIED, "/" if correct else ""),
        ("what the side network has added", "added", method_colour("last", dark=dark), "x"),
    ):
        values = [step[key] for step in upto]
        pattern = dict(shape=shape, fgcolor=colour, bgcolor="rgba(0,0,0,0)", solidity=0.35) if shape == "/" else (
            PATTERN | dict(shape=shape, bgcolor=colour, solidity=0.2))  # fmt: skip
        figure.add_bar(
            x=names[: len(upto)], y=values, name=name, marker=dict(color=colour, pattern=pattern),
            hovertemplate=f"%{{x}}: {name}<br>length %{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    top = max(step["sum"] for step in steps) * 1.1
    figure.update_xaxes(title_text="group of layers", range=[-0.5, len(steps) - 0.5], categoryarray=names,
                        categoryorder="array", tickvals=names)  # fmt: skip
    figure.update_yaxes(title_text="mean length of a token", range=[0, top])
    figure.update_layout(barmode="group")
    now = steps[group]
    frozen = f"z<sub>{group}</sub>"
    if correct:
        title = f"With the correction the outcome is {frozen} and what was added, {_parts(now['added'], now['z'])}"
    else:
        title = (
            f"Without it the frozen part is {times(now['sum'] / now['z'])} as long as {frozen}, and what was "
            f"added is {_parts(now['added'], now['sum'])}"
        )
    return look.finish(figure, title, name="recursion", dark=dark, height=400, line=130, margin=dict(b=90))


def _parts(added: float, frozen: float) -> str:
    return f"{added / frozen:.2f} times as long as that" if added else "which is nothing yet"
