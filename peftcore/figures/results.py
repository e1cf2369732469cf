"""What a run got right and wrong, from plain arrays: confusion of classes, accuracy by class, and its reliability."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peftcore.figures import labels, lettering, theme, words
from peftcore.figures.squares import cell_side, ticks

WRITTEN = 26  # pixels: in a cell at least this wide its count is written
SIDES = dict(l=60, r=84, t=66, b=60)
LONG = dict(SIDES, l=104, b=104)  # where class names are words
MOST = 60  # classes in a picture: more are a page of squares that nobody reads
SHORT = 14  # characters of a class name beside the squares


def confusion(
    counts: np.ndarray,
    classes: Sequence[str],
    *,
    selected: tuple[int, int] | None = None,
    width: int = 560,
    height: int = 560,
    dark: bool = False,
) -> go.Figure:
    """Counts as a heatmap, labels down and predictions across; a click's `customdata` is [label, predicted].

    Args:
        counts: (classes, classes). Colour is the share of the label's images, so that rare classes are seen too.
    """
    whole, counts = len(classes), np.asarray(counts)
    title = _confused(counts, [words.plain(name) for name in classes])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    at = _most_confused(counts, selected)
    counts, shares, classes = counts[np.ix_(at, at)], shares[np.ix_(at, at)], [classes[n] for n in at]
    names = [words.plain(name) for name in classes]
    note = f"of {whole} classes the {len(at)} that are confused most" if len(at) < whole else ""
    many, margins = len(names), LONG if max(map(len, map(str, classes))) > 2 else SIDES
    side = cell_side(many, many, width, height, margins)
    rows, columns = np.indices(counts.shape)
    pairs = [
        [f"<b>{label}</b> taken for <b>{other}</b>" if i != j else f"<b>{label}</b>, correctly"
         for j, other in enumerate(names)]
        for i, label in enumerate(names)
    ]  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            text=pairs,
            customdata=np.stack([at[rows], at[columns], counts, 100 * shares], -1).tolist(),
            hovertemplate="%{text}<br>%{customdata[2]} images, %{customdata[3]:.0f} % of the label<extra></extra>",
            colorscale=theme.SEQUENTIAL,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            name="cells",
            colorbar=dict(
                thickness=12, outlinewidth=0, tickformat=".0%", title=dict(text="of the label", font=dict(size=11.5))
            ),
        )
    )
    if side >= WRITTEN:
        down, across = np.nonzero(counts)
        said = [str(count) for count in counts[down, across]]
        lettering.write(figure, (across, down), said, shares[down, across], size=11)
    if selected is not None:
        row, column = (int(np.flatnonzero(at == n)[0]) for n in selected)
        box = dict(type="rect", x0=column - 0.5, x1=column + 0.5, y0=row - 0.5, y1=row + 0.5)
        figure.add_shape(**box, line=dict(color="#FFFFFF", width=5))
        figure.add_shape(**box, line=dict(color="#D55E00", width=2.5))
    shown = ticks(many, 25)
    bare = dict(showgrid=False, fixedrange=True, showline=False, ticks="", automargin=False)
    short = [words.plain(_short(str(classes[i]))) for i in shown]
    figure.update_xaxes(range=[-0.5, many - 0.5], tickvals=shown, ticktext=short, title_text="predicted", **bare)
    figure.update_xaxes(tickangle=-40 if max(map(len, short)) > 2 else 0, title_standoff=4)
    figure.update_yaxes(range=[many - 0.5, -0.5], tickvals=shown, ticktext=short, title_text="label", **bare)
    size = dict(width=side * many + margins["l"] + margins["r"], height=side * many + margins["t"] + margins["b"])
    figure.update_layout(autosize=False, dragmode=False, hovermode="closest", **size)
    theme.numbered(
        figure,
        {
            "label": [str(classes[i]) for i in rows.ravel().tolist()],
            "predicted": [str(classes[j]) for j in columns.ravel().tolist()],
            "images": counts.ravel().tolist(),
        },
    )
    return theme.finish(
        figure, title, name="confusion", note=note, dark=dark, margin=margins,
        line=max(24, size["width"] // 8), width=size["width"], height=size["height"],
    )  # fmt: skip


def _most_confused(counts: np.ndarray, selected: tuple[int, int] | None) -> np.ndarray:
    """Indices of the classes with the most mistakes, MOST of them, the pair that is confused most and those that are
    selected, in their own order."""
    wrong = counts - np.diag(np.diag(counts))
    first = np.argsort(-wrong.sum(0) - wrong.sum(1), kind="stable")[:MOST].tolist()
    return np.array(sorted({*first, *divmod(int(wrong.argmax()), len(counts)), *(selected or ())}))


def _short(name: str) -> str:
    return name if len(name) <= SHORT else f"{name[: SHORT - 1]}…"


def _confused(counts: np.ndarray, names: Sequence[str]) -> str:
    """The finding: which two classes are confused most."""
    wrong = counts - np.diag(np.diag(counts))
    if not wrong.sum():
        return "Every test image is classified correctly"
    label, predicted = divmod(int(wrong.argmax()), len(names))
    times = "once" if wrong.max() == 1 else f"{wrong.max()} times"
    return f"Most often wrong: {names[label]} taken for {names[predicted]}, {times}"


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
    "confusion": dict(counts=np.array([[8, 1], [3, 5]]), classes=["cat", "dog"], selected=(1, 0)),
    "by_class": dict(
        classes=["cat", "dog", "none"], recall=[0.9, 0.6, np.nan], low=[0.7, 0.3, np.nan], high=[0.98, 0.8, np.nan],
        images=[10, 8, 0], overall=0.77,
    ),
    "reliability": dict(
        edges=np.linspace(0, 1, 6), images=np.array([0, 2, 5, 9, 30]),
        confidence=np.array([np.nan, 0.35, 0.5, 0.7, 0.95]), accuracy=np.array([np.nan, 0.3, 0.4, 0.75, 0.9]), ece=0.05,
    ),
}  # fmt: skip
