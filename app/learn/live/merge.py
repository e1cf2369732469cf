"""What a model says before its updates are merged into its weights and after, for one image of each class. Recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from app import captions, theme
from app.drawn import plan
from app.learn.live._recorded import choose, part
from peftcore.figures import theme as look
from peftcore.figures.components import PATTERN, component_colour
from peftcore.figures.method_style import method_colour
from peftcore.store import gallery


def draw(_settings: Mapping[str, Any]) -> None:
    known = part("low_rank")
    merged = known["merged"]
    image = choose(
        "merge_digit", "test image of a", range(len(merged["samples"])), 0, show=merged["classes"].__getitem__
    )
    theme.show(plan(bars, merged["samples"][image], merged["classes"], theme.is_dark()), "merge")
    captions.caption(
        f"Outputs before the softmax of the run “{gallery.record(known['run'])['title']}” for test image "
        f"{merged['samples'][image]['number']}: the updates beside the weights, and merged into them.",
        known["command"],
    )


def bars(sample: Mapping[str, Any], classes: Sequence[str], dark: bool) -> go.Figure:
    figure = go.Figure()
    for name, key, colour, shape in (
        ("W and BA apart", "before", method_colour("lora", dark=dark), ""),
        ("W + BA in one matrix", "after", component_colour("frozen_weights"), "/"),
    ):
        figure.add_bar(
            x=classes, y=sample[key], name=name,
            marker=dict(color=colour, pattern=PATTERN | dict(shape=shape, bgcolor=colour, solidity=0.3)),
            hovertemplate=f"class %{{x}}: %{{y:.4f}}<extra>{name}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="class", type="category")
    figure.update_yaxes(title_text="output", zeroline=True)
    figure.update_layout(barmode="group")
    title = f"The bars differ by at most {sample['difference']:.1e}"
    return look.finish(figure, title, name="merge", dark=dark, height=340, margin=dict(b=84))
