"""What a model answers on one image: its likeliest classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.errors import BadData
from peftcore.figures import theme, words
from peftcore.figures.method_style import method_colour

MOST = 5  # classes that are drawn
SHORT = 18  # letters of a class's name


def likeliest(
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    method: str,
    kind: str | None = None,
    true: int | None = None,
    width: int | None = None,
    dark: bool = False,
) -> go.Figure:
    """The probabilities (classes,) of the likeliest classes as bars in the method's colour; the title is the answer.

    Args:
        true: the index of the image's class, where it is known; it is marked.
    """
    p = np.asarray(probabilities, float)
    if p.ndim != 1 or len(p) != len(classes) or not len(p):
        raise BadData(f"An answer needs one probability for each class, but got {p.shape} for {len(classes)} classes.")
    top = np.argsort(-p, kind="stable")[:MOST]
    names = [words.plain(words.shortened(classes[at], SHORT)) + (" ✓" if at == true else "") for at in top]
    figure = go.Figure(
        go.Bar(
            x=p[top],
            y=list(range(len(top))),
            orientation="h",
            marker=dict(color=method_colour(method, kind, dark), line=dict(width=0)),
            text=[words.percent(share) for share in p[top]],
            textposition="outside",
            cliponaxis=False,
            customdata=[words.plain(str(classes[at])) for at in top],
            hovertemplate="<b>%{customdata}</b><br>%{x:.1%}<extra></extra>",
            showlegend=False,
        )
    )
    figure.update_xaxes(range=[0, 1.22], visible=False, fixedrange=True)
    figure.update_yaxes(
        tickvals=list(range(len(top))), ticktext=names, range=[MOST - 0.5, -0.5], ticks="", showgrid=False,
        showline=False, fixedrange=True,
    )  # fmt: skip
    figure.update_layout(bargap=0.35, dragmode=False)
    theme.numbered(figure, {"class": list(map(str, classes)), "probability": p.tolist()})
    verdict = "" if true is None else ", right" if top[0] == true else ", wrong"
    title = f"{words.plain(str(classes[top[0]]))}: {words.percent(p[top[0]])}{verdict}"
    return theme.finish(
        figure, title, name="answer", dark=dark, height=210, width=width, line=max(20, (width or 400) // 8),
        margin=dict(l=8, r=8, b=8),
    )  # fmt: skip


EXAMPLES = {"likeliest": dict(probabilities=np.array([0.1, 0.7, 0.2]), classes=["a", "b", "c"], method="last", true=1)}
