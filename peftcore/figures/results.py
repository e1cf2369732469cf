"""How often a run is right, from plain arrays: accuracy by class, and its reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.figures import labels, theme, words


def by_class(
    classes: Sequence[str],
    recall: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    images: Sequence[int],
    *,
    overall: float | None = None,
    dark: bool = False,
    height: int | None = None,
) -> go.Figure:
    """The share of each class's images that is classified correctly, with its 95 % interval, the lowest above.

    Args:
        overall: the accuracy over all images, drawn as a line.
    """
    order = np.argsort(np.nan_to_num(np.asarray(recall, float), nan=2.0), kind="stable")
    known = [n for n in order if np.isfinite(recall[n])]
    names = [words.plain(classes[n]) for n in known]
    figure = go.Figure(
        go.Scatter(
            x=[recall[n] for n in known],
            y=names,
            mode="markers",
            name="recall",
            marker=dict(size=9, color=theme.CATEGORIES[0], line=dict(width=1, color=theme.ink(dark))),
            error_x=dict(
                type="data",
                symmetric=False,
                array=[high[n] - recall[n] for n in known],
                arrayminus=[recall[n] - low[n] for n in known],
                color=theme.muted(dark),
                thickness=1.2,
                width=3,
            ),
            customdata=[[low[n], high[n], images[n]] for n in known],
            hovertemplate="<b>%{y}</b><br>%{x:.3f} (%{customdata[0]:.2f} to %{customdata[1]:.2f}) of "
            "%{customdata[2]} images<extra></extra>",
            showlegend=False,
        )
    )
    if overall is not None:
        figure.add_vline(x=overall, line=dict(color=theme.muted(dark), width=1, dash="dot"))
    figure.update_xaxes(title_text="recall", range=[-0.02, 1.02])
    figure.update_yaxes(
        autorange="reversed", type="category", **labels.short_ticks(names, [classes[n] for n in known], 30)
    )
    theme.numbered(
        figure,
        {"class": [str(classes[n]) for n in known]}
        | {name: [float(of[n]) for n in known] for name, of in (("recall", recall), ("low", low), ("high", high))}
        | {"images": [int(images[n]) for n in known]},
    )
    title = "No class has test images"
    if known:
        worst, best = known[0], known[-1]
        lowest, highest = (
            f"{recall[n]:.2f} for {words.plain(words.shortened(str(classes[n])))}" for n in (worst, best)
        )
        title = f"From {lowest} to {highest}"
        if f"{recall[worst]:.2f}" == f"{recall[best]:.2f}":
            title = f"{recall[best]:.2f} for every class" if len(known) > 1 else highest
    tall = height or min(900, max(240, 110 + 22 * len(names)))
    return theme.finish(figure, title, name="by-class", dark=dark, height=tall)


def reliability(
    edges: np.ndarray,
    images: np.ndarray,
    confidence: np.ndarray,
    accuracy: np.ndarray,
    ece: float,
    *,
    dark: bool = False,
    height: int = 380,
) -> go.Figure:
    """Accuracy by confidence in bins, with the number of images in each; on the diagonal a run knows how good it is.

    Args:
        edges: (bins + 1,); the others (bins,), NaN in an empty bin. ece: the expected calibration error.
    """
    filled = np.asarray(images) > 0
    middle, wide = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    figure = go.Figure()
    figure.add_bar(
        x=middle,
        y=np.asarray(images) / max(1, np.sum(images)),
        width=wide,
        name="share of the images",
        marker=dict(color=theme.muted(dark), opacity=0.28, line=dict(width=0)),
        customdata=np.asarray(images)[:, None],
        hovertemplate="%{customdata[0]} images, %{y:.1%}<extra></extra>",
    )
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="perfectly calibrated", hoverinfo="skip",
        line=dict(color=theme.muted(dark), width=1, dash="dot"),
    )  # fmt: skip
    figure.add_scatter(
        x=np.asarray(confidence)[filled],
        y=np.asarray(accuracy)[filled],
        mode="lines+markers",
        name="accuracy",
        line=dict(color=theme.CATEGORIES[0], width=2),
        marker=dict(size=9, color=theme.CATEGORIES[0]),
        customdata=np.asarray(images)[filled][:, None],
        hovertemplate="%{x:.2f} sure, %{y:.2f} right<br>%{customdata[0]} images<extra></extra>",
    )
    figure.update_xaxes(title_text="confidence, the probability of the predicted class", range=[0, 1.01])
    figure.update_yaxes(title_text="share", range=[0, 1.03])
    figure.update_layout(showlegend=True, bargap=0)
    theme.numbered(
        figure,
        {"from": edges[:-1].tolist(), "to": edges[1:].tolist(), "images": np.asarray(images).tolist()}
        | {"confidence": np.asarray(confidence).tolist(), "accuracy": np.asarray(accuracy).tolist()},
    )
    title = _calibrated(np.asarray(images), np.asarray(confidence), np.asarray(accuracy), ece)
    return theme.finish(figure, title, name="reliability", dark=dark, height=height)


def _calibrated(images: np.ndarray, confidence: np.ndarray, accuracy: np.ndarray, ece: float) -> str:
    filled = images > 0
    lean = float((images[filled] * (confidence[filled] - accuracy[filled])).sum() / max(1, images.sum()))
    if ece < 0.02:
        return f"It knows how sure it may be: calibration error {ece:.3f}"
    how = "Too sure of itself" if lean > ece / 2 else "Less sure than it may be" if lean < -ece / 2 else "Miscalibrated"
    return f"{how}: calibration error {ece:.3f}"


EXAMPLES = {
    "by_class": dict(
        classes=["cat", "dog", "none"], recall=[0.9, 0.6, np.nan], low=[0.7, 0.3, np.nan], high=[0.98, 0.8, np.nan],
        images=[10, 8, 0], overall=0.77,
    ),
    "reliability": dict(
        edges=np.linspace(0, 1, 6), images=np.array([0, 2, 5, 9, 30]),
        confidence=np.array([np.nan, 0.35, 0.5, 0.7, 0.95]), accuracy=np.array([np.nan, 0.3, 0.4, 0.75, 0.9]), ece=0.05,
    ),
}  # fmt: skip
